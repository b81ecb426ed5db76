// Any file ⇄ a compressed file, by an artifact: docs/bitstream.md, "Compressed files". Blocks of 1 MiB are coded by the
// model where that is smaller than a plain codec, decoded and compared before they are handed on.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include "eval/coding/coded_text.h"
#include "tokenizer/tokenizer.h"

namespace par5 {

inline constexpr int kCompressedVersion = 1;
inline constexpr std::size_t kBlockBytes = std::size_t{1} << 20;

struct FileCoderOptions {
  Arithmetic arithmetic = Arithmetic::int8;  // compress; decompress takes the file's
  std::int64_t window = 0;                   // compress: tokens of context; 0: the model's context
  std::string kernel;
  std::size_t threads = 0;
};

struct FileCoderSummary {
  std::uint64_t input_bytes = 0, output_bytes = 0;
  std::uint64_t model_blocks = 0, plain_blocks = 0;
  std::uint64_t payload_bytes = 0, changes_bytes = 0, plain_bytes = 0;  // of the compressed side
  std::uint64_t tokens = 0;
  std::string kernel;
  std::string arithmetic;
};

// Fills up to the span's size; 0 means the end.
using ReadBytes = std::function<Result<std::size_t>(std::span<std::byte>)>;
using WriteBytes = std::function<Status(std::span<const std::byte>)>;

// `total` is for progress; 0: unknown.
Result<FileCoderSummary> compress_file(const CodingModel& model, const Tokenizer& tokenizer,
                                       const FileCoderOptions& options, const ReadBytes& read, const WriteBytes& write,
                                       std::uint64_t total);

// Damaged, truncated and foreign input is bad_data that names `path` and the block; what was handed to `write` before
// is right. A file that was made with another artifact is refused.
Result<FileCoderSummary> decompress_file(const CodingModel& model, const Tokenizer& tokenizer,
                                         const FileCoderOptions& options, const std::string& path,
                                         const ReadBytes& read, const WriteBytes& write, std::uint64_t total);

}  // namespace par5
