#include "eval/coding/source_text.h"

#include <algorithm>

#include "core/text.h"

namespace par5 {
namespace {

// Builds text and edits piece by piece.
class SourceBuilder {
 public:
  SourceBuilder(const Tokenizer& tokenizer, SourceText& result) : tokenizer_(tokenizer), result_(result) {
    const auto& pieces = tokenizer.data().pieces;
    byte_ids_.assign(256, -1);
    int value = 0;
    for (std::size_t id = 0; id < pieces.size() && value < 256; ++id)
      if (pieces[id].type == 6) {
        // Byte pieces are named "<0x0A>".
        value = std::stoi(pieces[id].piece.substr(3, 2), nullptr, 16);
        byte_ids_[static_cast<std::size_t>(value)] = static_cast<int>(id);
      }
  }

  // A token that stands for `source`, or for a part of it that later tokens complete.
  void add(std::uint16_t id) {
    result_.tokens.push_back(id);
    result_.text += tokenizer_.surface(id, after_boundary_);
    after_boundary_ = tokenizer_.bytes().boundary[id];
    result_.byte_pieces += is_byte(id);
  }
  bool is_byte(std::uint16_t id) const { return tokenizer_.data().pieces[id].type == 6; }

  // A byte that is no text: its byte piece, or an insertion where the tokenizer has none.
  void add_byte(char byte) {
    const int id = byte_ids_[static_cast<unsigned char>(byte)];
    if (id >= 0)
      add(static_cast<std::uint16_t>(id));
    else
      settle(result_.text.size(), std::string_view(&byte, 1));
  }

  // The text from `begin` on stands for `source`: an edit where it differs, without what they share at the ends.
  void settle(std::size_t begin, std::string_view source) {
    const std::string_view text = std::string_view(result_.text).substr(begin);
    if (text == source) return;
    const auto [prefix_end, unused] = std::mismatch(
        text.begin(), text.begin() + static_cast<std::ptrdiff_t>(std::min(text.size(), source.size())), source.begin());
    std::size_t prefix = static_cast<std::size_t>(prefix_end - text.begin());
    std::size_t suffix = 0;
    while (suffix < std::min(text.size(), source.size()) - prefix &&
           text[text.size() - 1 - suffix] == source[source.size() - 1 - suffix])
      ++suffix;
    // A run of spaces or a line break beside a space becomes the replacement of that space: what is coded cheaply.
    if (prefix + suffix == text.size()) {
      if (prefix > 0 && text[prefix - 1] == ' ')
        --prefix;
      else if (suffix > 0 && text[prefix] == ' ')
        --suffix;
    }
    SourceEdit edit{begin + prefix, text.size() - prefix - suffix,
                    std::string(source.substr(prefix, source.size() - prefix - suffix))};
    // Insertions at one place are one edit.
    if (!result_.edits.empty() && edit.erased == 0) {
      SourceEdit& last = result_.edits.back();
      if (last.position == edit.position && last.erased == 0) {
        last.inserted += edit.inserted;
        return;
      }
    }
    result_.edits.push_back(std::move(edit));
  }

 private:
  const Tokenizer& tokenizer_;
  SourceText& result_;
  std::vector<int> byte_ids_;
  bool after_boundary_ = true;
};

// A run of well-formed UTF-8.
Status add_run(const Tokenizer& tokenizer, std::string_view run, SourceBuilder& builder, const SourceText& result) {
  P5_TRY(const std::vector<TokenSpan> spans, tokenizer.encode_spans(run));
  std::size_t covered = 0;
  for (std::size_t i = 0; i < spans.size();) {
    // Byte pieces are taken together: only the last one of a character has its source.
    const std::size_t text_begin = result.text.size(), source_begin = covered;
    const bool bytes = builder.is_byte(spans[i].id);
    do {
      builder.add(spans[i].id);
      covered = std::max(covered, spans[i].end);
      ++i;
    } while (bytes && i < spans.size() && builder.is_byte(spans[i].id));
    builder.settle(text_begin, run.substr(source_begin, covered - source_begin));
  }
  builder.settle(result.text.size(), run.substr(covered));
  return {};
}

}  // namespace

Result<SourceText> tokenize_source(const Tokenizer& tokenizer, std::string_view source) {
  if (source.size() > kMaxTextBytes) return resource_limit("a block is too long to be made into tokens");
  SourceText result;
  SourceBuilder builder(tokenizer, result);
  while (!source.empty()) {
    const std::size_t valid = std::min(find_invalid_utf8(source), source.size());
    if (valid > 0) P5_OK(add_run(tokenizer, source.substr(0, valid), builder, result));
    source.remove_prefix(valid);
    if (source.empty()) break;
    builder.add_byte(source[0]);
    source.remove_prefix(1);
  }
  return result;
}

std::string token_text(const Tokenizer& tokenizer, std::span<const std::uint16_t> tokens) {
  std::string text;
  bool after_boundary = true;
  for (const std::uint16_t id : tokens) {
    text += tokenizer.surface(id, after_boundary);
    after_boundary = tokenizer.bytes().boundary[id];
  }
  return text;
}

}  // namespace par5
