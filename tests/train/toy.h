// Tiny shards and configurations for the tests of train/.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdint>
#include <string>
#include <vector>

#include "core/config.h"
#include "core/file.h"
#include "tokenizer/shards/shard_writer.h"
#include "tokenizer/shards/shards.h"

namespace par5 {

// A folder with sub-folders that the tests write into; removed with everything in it.
class TestFolder {
 public:
  TestFolder() : root_(std::move(TemporaryFolder::create().value())) {}
  ~TestFolder() {
    // Those named last may lie in those named before.
    for (auto folder = folders_.rbegin(); folder != folders_.rend(); ++folder)
      if (const auto names = list_folder(*folder)) {
        for (const std::string& name : *names) (void)remove_file(join_path(*folder, name));
        ::rmdir(folder->c_str());
      }
  }
  std::string at(const std::string& name) {
    folders_.push_back(join_path(root_.path(), name));
    return folders_.back();
  }

 private:
  TemporaryFolder root_;
  std::vector<std::string> folders_;
};

// Ids below 4 are boundaries; every other piece is charged one byte.
inline TokenBytes toy_token_bytes(std::size_t vocab) {
  TokenBytes table;
  table.bytes.assign(vocab, 1);
  table.leading_space.assign(vocab, 0);
  table.boundary.assign(vocab, 0);
  for (std::size_t id = 0; id < 4; ++id) table.bytes[id] = 0, table.boundary[id] = 1;
  return table;
}

// Shards of `tokens` tokens in documents of 50, split into files of 300 tokens: a text with a pattern to learn, each
// token following from the one before but for some noise.
inline void write_toy_shards(const std::string& folder, std::size_t tokens, std::size_t vocab = 64,
                             std::uint32_t seed = 1) {
  ShardWriter::Options options;
  options.shard_tokens = 300;
  options.token_bytes = toy_token_bytes(vocab);
  options.tokenizer_sha256 = std::string(64, 'a');
  auto writer = ShardWriter::create(folder, options).value();
  std::vector<std::uint16_t> document;
  std::uint32_t random = seed;
  for (std::size_t i = 0; i < tokens; ++i) {
    random = random * 1664525u + 1013904223u;
    const std::size_t usable = vocab - 4;
    const std::size_t next = document.size() <= 1 || (random >> 28) == 0
                                 ? (random >> 8) % usable
                                 : (static_cast<std::size_t>(document.back() - 4) * 7 + 3) % usable;
    document.push_back(document.empty() ? std::uint16_t{1} : static_cast<std::uint16_t>(4 + next));
    if (document.size() == 50 || i + 1 == tokens) {
      ASSERT_TRUE(writer.add(document, std::string(64, '0'), document.size())) << i;
      document.clear();
    }
  }
  ASSERT_TRUE(writer.finish());
}

// A network of a few thousand weights that fits toy shards.
inline LoadedConfig toy_config(const std::vector<std::string>& changes = {}) {
  LoadedConfig config;
  std::vector<std::string> assignments = {"model.layers=2",
                                          "model.width=32",
                                          "model.heads=2",
                                          "model.kv_heads=1",
                                          "model.mlp_width=64",
                                          "model.vocab=64",
                                          "model.embedding_width=16",
                                          "model.context=16",
                                          "model.rope_max_context=16",
                                          "quantizer.group=32",
                                          "train.sequence=16",
                                          "train.batch_tokens=128",
                                          "train.micro_batch_tokens=64",
                                          "train.steps=12",
                                          "train.max_seconds=0",
                                          "train.log_every=4",
                                          "train.precision=float32",
                                          "train.seed=5",
                                          "optimizer.muon_momentum_warmup_steps=4"};
  assignments.insert(assignments.end(), changes.begin(), changes.end());
  for (const std::string& assignment : assignments) EXPECT_TRUE(config.apply_assignment(assignment)) << assignment;
  return config;
}

}  // namespace par5
