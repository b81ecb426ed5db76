// The values of an artifact as one hash, and the second decoder that must give the same.
#pragma once

#include <gtest/gtest.h>

#include <bit>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "archive/artifact.h"
#include "core/file.h"
#include "core/hash.h"

namespace par5::test {

inline std::string hash_text(std::uint64_t hash) {
  char text[32];
  std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(hash));
  return text;
}

// XXH3 of every float32 value, in tensor order, and their number.
inline std::string values_line(const StoredModel& model) {
  std::vector<float> all;
  for (const StoredTensor& tensor : model.tensors) {
    const std::vector<float> values = tensor.values();
    all.insert(all.end(), values.begin(), values.end());
  }
  return "values " + hash_text(xxh3_64(std::as_bytes(std::span(all)))) + " " + std::to_string(all.size()) + "\n";
}

inline std::string tokenizer_line(const TokenizerData& tokenizer) {
  const std::vector<std::string> types = {"bpe", "unigram", "word", "char"};
  std::size_t type = 0;
  while (types[type] != tokenizer.model_type) ++type;
  std::string hash;
  for (std::size_t i = 0; i + 1 < tokenizer.normalizer_sha256.size(); i += 2)
    hash.push_back(static_cast<char>(std::stoi(tokenizer.normalizer_sha256.substr(i, 2), nullptr, 16)));
  std::string text =
      std::to_string(type) + " " +
      std::to_string((tokenizer.add_dummy_prefix ? 1 : 0) | (tokenizer.remove_extra_whitespaces ? 2 : 0) |
                     (tokenizer.escape_whitespaces ? 4 : 0) | (tokenizer.byte_fallback ? 8 : 0)) +
      "\n" + tokenizer.normalizer + "\n" + hash + "\n" +
      std::string(tokenizer.normalizer_map.begin(), tokenizer.normalizer_map.end()) + "\n" + tokenizer.unknown_surface +
      "\n";
  for (const TokenizerPiece& piece : tokenizer.pieces)
    text += piece.piece + "\n" + std::to_string(piece.type) + " " +
            std::to_string(std::bit_cast<std::uint32_t>(piece.score)) + "\n";
  return "tokenizer " + hash_text(xxh3_64(as_bytes(text))) + "\n";
}

// Runs the reference decoder on a file and returns what it prints.
inline std::string reference_output(const std::string& path) {
  const std::string command = std::string("'") + PAR5_REFERENCE_DECODER + "' '" + path + "' 2>&1";
  std::FILE* pipe = ::popen(command.c_str(), "r");
  if (!pipe) return "cannot start the reference decoder";
  std::string output;
  char buffer[256];
  while (std::fgets(buffer, sizeof buffer, pipe)) output += buffer;
  ::pclose(pipe);
  return output;
}

// The artifact's bytes, read by the reference decoder, hold exactly these values and this tokenizer.
inline void expect_reference_agrees(const std::vector<std::byte>& bytes, const Artifact& artifact) {
  const auto folder = TemporaryFolder::create();
  ASSERT_TRUE(folder);
  const std::string path = join_path(folder->path(), "model.par5");
  ASSERT_TRUE(write_file(path, bytes, Overwrite::no));
  EXPECT_EQ(reference_output(path),
            (artifact.tokenizer ? tokenizer_line(*artifact.tokenizer) : "") + values_line(artifact.model));
}

}  // namespace par5::test
