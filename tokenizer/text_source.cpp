#include "tokenizer/text_source.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>

#include "core/cancel.h"
#include "core/file.h"
#include "core/text.h"

namespace par5 {
namespace {

constexpr std::size_t kReadBytes = std::size_t{1} << 18;
constexpr std::size_t kMaxLineBytes = kMaxDocumentBytes * 2;  // escapes make a JSON line longer than its text

bool ends_with(std::string_view text, std::string_view end) {
  return text.size() > end.size() && text.substr(text.size() - end.size()) == end;
}

std::optional<TextFormat> format_of(std::string_view name) {
  for (const std::string_view compression : {".xz", ".zst"})
    if (ends_with(name, compression)) {
      name.remove_suffix(compression.size());
      break;
    }
  if (ends_with(name, ".txt")) return TextFormat::plain;
  if (ends_with(name, ".jsonl")) return TextFormat::jsonl;
  return std::nullopt;
}

constexpr const char* kKinds = ".txt or .jsonl, each also with .xz or .zst";

}  // namespace

Result<TextSource> TextSource::open(const std::vector<std::string>& paths, TextFormat standard_input) {
  TextSource source;
  source.standard_input_ = standard_input;
  for (const std::string& path : paths) {
    if (path == "-") {
      if (std::find(source.files_.begin(), source.files_.end(), path) != source.files_.end())
        return usage_error("standard input ('-') is named twice");
      source.files_.push_back(path);
    } else if (is_folder(path)) {
      P5_TRY(const auto names, list_folder(path));
      const std::size_t before = source.files_.size();
      for (const std::string& name : names)
        if (format_of(name) && !is_folder(join_path(path, name))) source.files_.push_back(join_path(path, name));
      if (source.files_.size() == before)
        return usage_error("the folder '" + path + "' holds no text files (" + kKinds + ")");
    } else {
      if (file_exists(path) && !format_of(file_name(path)))
        return usage_error("'" + path + "' is no text file by its name: " + kKinds);
      source.files_.push_back(path);
    }
  }
  if (source.files_.empty()) return usage_error("no text is named");
  bool known = true;
  for (const std::string& path : source.files_) {
    if (path == "-") {
      known = false;
      continue;
    }
    P5_TRY(const auto stream, open_byte_stream(path));
    P5_TRY(const std::uint64_t bytes, file_size(path));
    source.total_bytes_ += bytes;
  }
  if (!known) source.total_bytes_ = 0;
  return source;
}

Result<bool> TextSource::fill() {
  if (start_ > 0) {
    buffer_.erase(0, start_);
    start_ = 0;
  }
  const std::size_t used = buffer_.size();
  buffer_.resize(used + kReadBytes);
  auto count = stream_->read(std::span(buffer_.data() + used, kReadBytes));
  buffer_.resize(used + (count ? *count : 0));
  if (!count) return tl::unexpected(std::move(count).error());
  return *count > 0;
}

Result<bool> TextSource::take(char separator, std::string& record) {
  record_start_ = offset_;
  for (std::size_t searched = start_;;) {
    const std::size_t at = buffer_.find(separator, searched);
    if (at != std::string::npos) {
      record.assign(buffer_, start_, at - start_);
      offset_ += record.size() + 1;
      start_ = at + 1;
      return true;
    }
    const std::size_t held = buffer_.size() - start_;
    if (held > kMaxLineBytes)
      return resource_limit("a document in '" + files_[file_] + "' has more than " + std::to_string(kMaxDocumentBytes) +
                            " bytes; separate documents by NUL bytes in a .txt file, by lines in a .jsonl file");
    P5_TRY(const bool more, fill());
    searched = held;
    if (more) continue;
    record.assign(buffer_, start_);
    offset_ += record.size();
    buffer_.clear();
    start_ = 0;
    return !record.empty();
  }
}

Status TextSource::parse_line(const std::string& line, TextDocument& document) const {
  const std::string& file = files_[file_];
  if (const std::size_t at = find_invalid_utf8(line); at != std::string::npos)
    return bad_data("line " + std::to_string(line_) + " is not well-formed UTF-8", file, record_start_ + at);
  std::string fault;
  try {
    nlohmann::json object = nlohmann::json::parse(line);
    if (!object.is_object())
      fault = "is not a JSON object";
    else if (!object.contains("text"))
      fault = "has no key \"text\"";
    else if (!object["text"].is_string())
      fault = "has a \"text\" that is not a string";
    else
      document.text = std::move(object["text"].get_ref<std::string&>());
  } catch (const nlohmann::json::parse_error& error) {
    return bad_data(
        "line " + std::to_string(line_) + " is not well-formed JSON (at column " + std::to_string(error.byte) + ")",
        file, record_start_ + (error.byte ? error.byte - 1 : 0));
  }
  if (!fault.empty()) return bad_data("line " + std::to_string(line_) + " " + fault, file, record_start_);
  return {};
}

Result<bool> TextSource::next_in_file(TextDocument& document) {
  const std::string& file = files_[file_];
  const TextFormat format = file == "-" ? standard_input_ : *format_of(file_name(file));
  std::string record;
  do {
    P5_TRY(const bool more, take(format == TextFormat::plain ? '\0' : '\n', record));
    if (!more) return false;
    ++line_;
  } while (format == TextFormat::jsonl && trim(record).empty());
  document.place = (file == "-" ? "standard input" : file) + (format == TextFormat::plain ? ", document " : ", line ") +
                   std::to_string(line_);
  if (format == TextFormat::jsonl) {
    P5_OK(parse_line(record, document));
  } else {
    if (const std::size_t at = find_invalid_utf8(record); at != std::string::npos)
      return bad_data("the text is not well-formed UTF-8", file, record_start_ + at);
    document.text = std::move(record);
  }
  if (document.text.size() > kMaxDocumentBytes)
    return resource_limit(document.place + " has " + std::to_string(document.text.size()) +
                          " bytes; a document has at most " + std::to_string(kMaxDocumentBytes));
  return true;
}

Result<bool> TextSource::next(TextDocument& document) {
  while (stream_ || file_ < files_.size()) {
    if (cancelled()) return interrupted();
    if (!stream_) {
      P5_TRY(stream_, open_byte_stream(files_[file_]));
      offset_ = line_ = 0;
    }
    P5_TRY(const bool more, next_in_file(document));
    if (more) return true;
    finished_bytes_ += stream_->consumed();
    stream_.reset();
    ++file_;
  }
  return false;
}

}  // namespace par5
