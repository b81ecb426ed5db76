// The typed key/values at the head of an artifact: numbered keys that format version 1 knows, whose defaults cost
// nothing, and named keys for everything that is added without a new version.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "archive/artifact.h"
#include "archive/byte_io.h"

namespace par5 {

struct Metadata {
  ModelConfig model;
  QuantizerConfig quantizer;
  std::string tokenizer_sha256;  // 64 hexadecimal digits, or empty
  double temperature = 1.0;
  std::uint64_t tokenizer_bytes = 0;     // decoded size of the tokenizer stream; 0: there is none
  std::uint64_t self_test_bytes = 0;     // decoded size of the self-test stream; 0: there is none
  std::vector<std::byte> fp8_exponents;  // one signed byte per fp8 tensor, in tensor order; empty: all zero
  std::string codec_versions;            // of the libraries that encoded
  bool time_limited = false;             // the choice of codecs depended on a clock
  std::vector<NamedEntry> extras;        // in ascending order of names
};

void write_metadata(ByteWriter& out, const Metadata& metadata);

// Reads and checks: known numbers in ascending order, right types, values in range, shapes that fit each other. An
// unknown required name is refused by name, unknown optional ones are kept. Errors are bad_data with the offset.
Result<Metadata> read_metadata(ByteReader& in);

}  // namespace par5
