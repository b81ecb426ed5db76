// What the tokenizer's tests share: scratch files, small tokenizers, the shared real texts.
#pragma once

#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "core/file.h"
#include "tokenizer/model_file.h"
#include "tokenizer/text_source.h"
#include "tokenizer/tokenizer.h"
#include "tokenizer/training.h"

namespace par5::test {

// The value, or a failed test with the error's text.
template <class T>
T must(Result<T> result) {
  if (!result) throw std::runtime_error(to_string(result.error()));
  return std::move(*result);
}
inline void must(Status status) {
  if (!status) throw std::runtime_error(to_string(status.error()));
}

class Scratch {
 public:
  Scratch() : folder_(must(TemporaryFolder::create())) {}
  std::string path(const std::string& name) const { return join_path(folder_.path(), name); }
  std::string write(const std::string& name, std::string_view text) const {
    must(write_file(path(name), text, Overwrite::yes));
    return path(name);
  }
  // Removes a folder of files that a test made inside.
  void remove_folder(const std::string& name) const {
    if (const auto names = list_folder(path(name)))
      for (const std::string& file : *names) must(remove_file(join_path(path(name), file)));
    (void)std::remove(path(name).c_str());
  }

 private:
  TemporaryFolder folder_;
};

// $PAR5_SHARED, or the folder "shared" beside the sources; empty where there is none.
inline std::string shared_folder() {
  if (const char* folder = std::getenv("PAR5_SHARED"); folder && *folder) return folder;
  for (const char* place : {"/../shared", "/../../shared"})
    if (is_folder(std::string(PAR5_SOURCE_DIR) + place + "/data")) return std::string(PAR5_SOURCE_DIR) + place;
  return {};
}

inline constexpr const char* kNoShared =
    "the shared texts and tokenizers are not here; name their folder with PAR5_SHARED=DIR";

// A tokenizer in the challenge's form without learnt pieces but those given: pad, BOS, EOS, unknown, 256 bytes, pieces.
// Scores fall in order, so earlier pieces merge first.
inline TokenizerData small_tokenizer(const std::vector<std::string>& pieces) {
  TokenizerData data;
  data.pieces = {{"<pad>", 0, 3}, {"<s>", 0, 3}, {"</s>", 0, 3}, {"<unk>", 0, 2}};
  for (int byte = 0; byte < 256; ++byte) {
    char name[8];
    std::snprintf(name, sizeof name, "<0x%02X>", byte);
    data.pieces.push_back({name, 0, 6});
  }
  float score = 0;
  for (const std::string& piece : pieces) data.pieces.push_back({piece, score--, 1});
  data.normalizer = "identity";
  data.unknown_surface = " \xe2\x81\x87 ";
  return data;
}

inline std::string train(const std::string& text, std::int64_t vocab) {
  const Scratch scratch;
  TextSource source = must(TextSource::open({scratch.write("text.txt", text)}));
  return must(train_tokenizer(source, vocab)).model;
}

}  // namespace par5::test
