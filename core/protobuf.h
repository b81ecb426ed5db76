// The little of protobuf's wire format that SentencePiece's .model files and TensorBoard's events use.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "core/error.h"

namespace par5 {

struct ProtobufField {
  std::uint32_t number = 0;
  std::uint32_t wire = 0;    // 0 varint, 1 fixed 64, 2 bytes, 5 fixed 32
  std::uint64_t value = 0;   // of a number
  std::string_view bytes;    // of a string or message
  std::uint64_t offset = 0;  // of the field's content, from the start of the file
  float as_float() const;
};

// Reads the fields of one message in order. Every length is checked against what remains.
class ProtobufReader {
 public:
  // `offset`: where `message` lies in the file, for error messages.
  explicit ProtobufReader(std::string_view message, std::uint64_t offset = 0) : rest_(message), offset_(offset) {}
  // False at the end; bad_data with the offset where the bytes are no protobuf message.
  Result<bool> next(ProtobufField& field);

 private:
  Result<std::uint64_t> varint();
  void skip(std::size_t bytes);
  std::string_view rest_;
  std::uint64_t offset_;
};

void put_protobuf(std::string& message, std::uint32_t number, std::uint64_t value);
void put_protobuf(std::string& message, std::uint32_t number, std::string_view bytes);
void put_protobuf_float(std::string& message, std::uint32_t number, float value);
void put_protobuf_double(std::string& message, std::uint32_t number, double value);

}  // namespace par5
