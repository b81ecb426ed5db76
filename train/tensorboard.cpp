#include "train/tensorboard.h"

#include <array>
#include <bit>

#include "core/protobuf.h"

namespace par5 {
namespace {

std::array<std::uint32_t, 256> make_table() {
  std::array<std::uint32_t, 256> table{};
  for (std::uint32_t i = 0; i < 256; ++i) {
    std::uint32_t crc = i;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ (crc & 1 ? 0x82f63b78u : 0u);
    table[i] = crc;
  }
  return table;
}

void append_little_endian(std::string& out, std::uint64_t value, int bytes) {
  for (int byte = 0; byte < bytes; ++byte) out += static_cast<char>(value >> (8 * byte) & 0xff);
}

// Event: wall_time = 1, step = 2, then file_version = 3 or summary = 5.
std::string event(double seconds, std::int64_t step) {
  std::string out;
  put_protobuf_double(out, 1, seconds);
  put_protobuf(out, 2, static_cast<std::uint64_t>(step));
  return out;
}

// Length, its check, the bytes, their check.
std::string framed(const std::string& bytes) {
  std::string length;
  append_little_endian(length, bytes.size(), 8);
  std::string out = length;
  append_little_endian(out, masked_crc32c(length), 4);
  out += bytes;
  append_little_endian(out, masked_crc32c(bytes), 4);
  return out;
}

}  // namespace

std::uint32_t masked_crc32c(std::string_view bytes) {
  static const std::array<std::uint32_t, 256> table = make_table();
  std::uint32_t crc = 0xffffffffu;
  for (const char byte : bytes) crc = (crc >> 8) ^ table[(crc ^ static_cast<std::uint8_t>(byte)) & 0xff];
  crc = ~crc;
  return std::rotr(crc, 15) + 0xa282ead8u;
}

std::string tensorboard_header(double seconds) {
  std::string bytes = event(seconds, 0);
  put_protobuf(bytes, 3, std::string_view("brain.Event:2"));
  return framed(bytes);
}

std::string tensorboard_record(double seconds, std::int64_t step,
                               const std::vector<std::pair<std::string, double>>& scalars) {
  std::string summary;
  for (const auto& [tag, number] : scalars) {
    // Summary.Value: tag = 1, simple_value = 2.
    std::string value;
    put_protobuf(value, 1, std::string_view(tag));
    put_protobuf_float(value, 2, static_cast<float>(number));
    put_protobuf(summary, 1, std::string_view(value));
  }
  std::string bytes = event(seconds, step);
  put_protobuf(bytes, 5, std::string_view(summary));
  return framed(bytes);
}

}  // namespace par5
