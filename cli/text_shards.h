// The data of a command that takes shards or text: a folder of shards, made in a temporary place where it is text.
#pragma once

#include <optional>
#include <string>

#include "core/file.h"
#include "core/hash.h"
#include "tokenizer/sharding.h"

namespace par5 {

inline bool is_shard_folder(const std::string& path) {
  return is_folder(path) && file_exists(join_path(path, kManifestName));
}

class TextShards {
 public:
  // Text needs a tokenizer: a usage error without one.
  static Result<TextShards> of(const std::string& data, const std::optional<Tokenizer>& tokenizer,
                               std::size_t threads) {
    TextShards shards;
    shards.folder_ = data;
    if (is_shard_folder(data)) return shards;
    if (!tokenizer)
      return usage_error("the model holds no tokenizer, which raw text needs; name it with --tokenizer FILE",
                         "--tokenizer");
    P5_TRY(TextSource text, TextSource::open({data}));
    P5_TRY(TemporaryFolder temporary, TemporaryFolder::create());
    shards.folder_ = temporary.path();
    shards.temporary_.emplace(std::move(temporary));
    ShardOptions options;
    options.threads = threads;
    P5_OK(shard_text(text, *tokenizer, shards.folder_, options));
    return shards;
  }

  const std::string& folder() const { return folder_; }

 private:
  TextShards() = default;
  std::string folder_;
  std::optional<TemporaryFolder> temporary_;
};

}  // namespace par5
