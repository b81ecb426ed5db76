// Documents from text files, one after the other, in bounded memory.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/error.h"
#include "tokenizer/byte_stream.h"

namespace par5 {

enum class TextFormat { plain, jsonl };

struct TextDocument {
  std::string text;   // well-formed UTF-8, at most kMaxDocumentBytes
  std::string place;  // for messages: "val.jsonl.xz, line 12"
};

inline constexpr std::size_t kMaxDocumentBytes = std::size_t{64} << 20;

// Reads documents in order from:
//  - NAME.txt: plain text, one document; NUL bytes separate several, and one at the end closes the last;
//  - NAME.jsonl: one JSON object a line, the document under "text"; other keys are ignored, blank lines too;
//  - either of them with .xz or .zst after the name;
//  - a folder: its files with such names, sorted by bytes (other files and sub-folders are left out);
//  - "-": standard input, plain unless told otherwise, compressed or not.
class TextSource {
 public:
  // Resolves folders and opens every file once, so that a missing one is found before any work. Errors: io; usage for
  // a name of no known kind, a folder without text files, or standard input named twice.
  static Result<TextSource> open(const std::vector<std::string>& paths, TextFormat standard_input = TextFormat::plain);

  // The next document; false after the last one. Errors name file and line or offset: io, bad_data (invalid UTF-8,
  // malformed JSON, truncated or damaged compression), resource_limit (a document over 64 MiB), interrupted.
  Result<bool> next(TextDocument& document);

  const std::vector<std::string>& files() const { return files_; }
  // For progress: bytes of the files read so far and in all (0: unknown), before decompression.
  std::uint64_t consumed() const { return finished_bytes_ + (stream_ ? stream_->consumed() : 0); }
  std::uint64_t total() const { return total_bytes_; }

 private:
  TextSource() = default;
  Result<bool> fill();
  // The bytes up to `separator` (or the file's end), which is taken off; false where nothing is left in the file.
  Result<bool> take(char separator, std::string& record);
  Result<bool> next_in_file(TextDocument& document);
  Status parse_line(const std::string& line, TextDocument& document) const;

  std::vector<std::string> files_;
  TextFormat standard_input_ = TextFormat::plain;
  std::uint64_t total_bytes_ = 0;
  std::uint64_t finished_bytes_ = 0;

  std::size_t file_ = 0;  // the file that `stream_` reads, or the next one
  std::unique_ptr<ByteStream> stream_;
  std::string buffer_;  // decompressed bytes not yet given out, from `start_`
  std::size_t start_ = 0;
  std::uint64_t offset_ = 0;        // of `start_` in the decompressed file
  std::uint64_t record_start_ = 0;  // offset of the record that was taken last
  std::uint64_t line_ = 0;          // lines (or documents) taken from the file
};

}  // namespace par5
