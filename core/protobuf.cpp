#include "core/protobuf.h"

#include <bit>

namespace par5 {
namespace {

void put_varint(std::string& message, std::uint64_t value) {
  for (; value >= 0x80; value >>= 7) message += static_cast<char>((value & 0x7f) | 0x80);
  message += static_cast<char>(value);
}

template <class Bits>
void put_little_endian(std::string& message, Bits bits) {
  for (std::size_t byte = 0; byte < sizeof(Bits); ++byte) message += static_cast<char>(bits >> (8 * byte) & 0xff);
}

}  // namespace

float ProtobufField::as_float() const { return std::bit_cast<float>(static_cast<std::uint32_t>(value)); }

void ProtobufReader::skip(std::size_t bytes) {
  rest_.remove_prefix(bytes);
  offset_ += bytes;
}

Result<std::uint64_t> ProtobufReader::varint() {
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < 10 && i < rest_.size(); ++i) {
    const auto byte = static_cast<std::uint8_t>(rest_[i]);
    value |= static_cast<std::uint64_t>(byte & 0x7f) << (7 * i);
    if (byte < 0x80) {
      skip(i + 1);
      return value;
    }
  }
  return bad_data("a number is cut off or too long", {}, offset_);
}

Result<bool> ProtobufReader::next(ProtobufField& field) {
  if (rest_.empty()) return false;
  const std::uint64_t start = offset_;
  P5_TRY(const std::uint64_t key, varint());
  field = {};
  field.number = static_cast<std::uint32_t>(key >> 3);
  field.wire = static_cast<std::uint32_t>(key & 7);
  if (key >> 32 != 0 || field.number == 0) return bad_data("a field number is out of range", {}, start);
  std::uint64_t length = 0;
  switch (field.wire) {
    case 0: {
      field.offset = offset_;
      P5_TRY(field.value, varint());
      return true;
    }
    case 1:
      length = 8;
      break;
    case 5:
      length = 4;
      break;
    case 2: {
      P5_TRY(length, varint());
      break;
    }
    default:
      return bad_data("a field has the unsupported wire type " + std::to_string(field.wire), {}, start);
  }
  if (length > rest_.size())
    return bad_data("a field of " + std::to_string(length) + " bytes is cut off after " + std::to_string(rest_.size()),
                    {}, start);
  field.offset = offset_;
  field.bytes = rest_.substr(0, static_cast<std::size_t>(length));
  if (field.wire != 2) {
    for (std::size_t i = field.bytes.size(); i-- > 0;)
      field.value = field.value << 8 | static_cast<std::uint8_t>(field.bytes[i]);
  }
  skip(static_cast<std::size_t>(length));
  return true;
}

void put_protobuf(std::string& message, std::uint32_t number, std::uint64_t value) {
  put_varint(message, std::uint64_t{number} << 3);
  put_varint(message, value);
}

void put_protobuf(std::string& message, std::uint32_t number, std::string_view bytes) {
  put_varint(message, std::uint64_t{number} << 3 | 2);
  put_varint(message, bytes.size());
  message += bytes;
}

void put_protobuf_float(std::string& message, std::uint32_t number, float value) {
  put_varint(message, std::uint64_t{number} << 3 | 5);
  put_little_endian(message, std::bit_cast<std::uint32_t>(value));
}

void put_protobuf_double(std::string& message, std::uint32_t number, double value) {
  put_varint(message, std::uint64_t{number} << 3 | 1);
  put_little_endian(message, std::bit_cast<std::uint64_t>(value));
}

}  // namespace par5
