#include "tokenizer/accounting.h"

#include <algorithm>

namespace par5 {
namespace {

struct Counts {
  std::size_t whitespace = 0;  // bytes
  std::size_t line_breaks = 0;
  std::string other;  // everything but whitespace
};

// Unicode's White_Space beyond ASCII, and what nmt_nfkc turns into spaces too: some invisible marks and U+2581.
constexpr std::string_view kWideSpaces[] = {
    "\xc2\x85",     "\xc2\xa0",     "\xe1\x9a\x80", "\xe2\x80\x80", "\xe2\x80\x81", "\xe2\x80\x82",
    "\xe2\x80\x83", "\xe2\x80\x84", "\xe2\x80\x85", "\xe2\x80\x86", "\xe2\x80\x87", "\xe2\x80\x88",
    "\xe2\x80\x89", "\xe2\x80\x8a", "\xe2\x80\x8b", "\xe2\x80\x8e", "\xe2\x80\x8f", "\xe2\x80\xa8",
    "\xe2\x80\xa9", "\xe2\x80\xaf", "\xe2\x81\x9f", "\xe2\x96\x81", "\xe3\x80\x80", "\xef\xbb\xbf"};

// Length of the whitespace character at the start of `text`, or 0.
std::size_t whitespace_length(std::string_view text) {
  if (text[0] == ' ' || (text[0] >= '\t' && text[0] <= '\r')) return 1;
  if (static_cast<unsigned char>(text[0]) < 0xc2) return 0;
  for (const std::string_view space : kWideSpaces)
    if (text.substr(0, space.size()) == space) return space.size();
  return 0;
}

bool is_line_break(std::string_view text) {
  if (text[0] == '\r') return text.size() < 2 || text[1] != '\n';  // CRLF counts once
  return (text[0] >= '\n' && text[0] <= '\f') || text.substr(0, 2) == "\xc2\x85" ||
         text.substr(0, 3) == "\xe2\x80\xa8" || text.substr(0, 3) == "\xe2\x80\xa9";
}

Counts count(std::string_view text) {
  Counts counts;
  while (!text.empty()) {
    const std::size_t space = whitespace_length(text);
    if (space > 0) {
      counts.whitespace += space;
      counts.line_breaks += is_line_break(text);
    } else {
      counts.other += text[0];
    }
    text.remove_prefix(std::max<std::size_t>(space, 1));
  }
  return counts;
}

std::int64_t difference(std::size_t a, std::size_t b) {
  return static_cast<std::int64_t>(a) - static_cast<std::int64_t>(b);
}

// Compares each token's source with its text. Byte pieces are taken together: only the last one of a character has its
// source. What no token covers was dropped at the edges.
NormalizationChange changes(const Tokenizer& tokenizer, std::string_view source, const std::vector<TokenSpan>& spans) {
  NormalizationChange change;
  std::size_t covered = spans.empty() ? source.size() : spans.front().begin;
  change.edge_bytes = static_cast<std::int64_t>(covered);
  bool after_boundary = true;
  std::string run;
  for (std::size_t i = 0; i < spans.size();) {
    const std::size_t begin = covered;
    const auto is_byte = [&](std::size_t at) { return tokenizer.data().pieces[spans[at].id].type == 6; };
    run.clear();
    const bool bytes = is_byte(i);
    do {
      run += tokenizer.surface(spans[i].id, after_boundary);
      after_boundary = tokenizer.bytes().boundary[spans[i].id];
      covered = std::max(covered, spans[i].end);
      ++i;
    } while (bytes && i < spans.size() && is_byte(i));
    const std::string_view original = source.substr(begin, covered - begin);
    if (original == run) continue;
    const Counts was = count(original), is = count(run);
    change.whitespace_bytes += difference(was.whitespace, is.whitespace);
    change.character_bytes += difference(was.other.size(), is.other.size());
    change.line_breaks += was.line_breaks - std::min(was.line_breaks, is.line_breaks);
    change.changed_tokens += was.other != is.other;
  }
  change.edge_bytes += difference(source.size(), covered);
  return change;
}

std::string without_leading_spaces(const std::string& text) {
  return text.substr(std::min(text.find_first_not_of(' '), text.size()));
}

std::uint64_t capitals(std::string_view text) {
  return static_cast<std::uint64_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return c >= 'A' && c <= 'Z'; }));
}

// Names the tokenizer's fault where a document's bytes do not agree.
struct Fault {
  std::string id, text;
};
Fault explain(const Tokenizer& tokenizer, const DocumentAccount& account, const std::string& decoded,
              const std::string& normalized) {
  const auto& pieces = tokenizer.data().pieces;
  const auto unknown = std::count(account.tokens.begin(), account.tokens.end(), tokenizer.unknown());
  if (unknown > 0)
    return {
        "unknown_pieces",
        std::to_string(unknown) +
            " unknown tokens stand for text that the vocabulary lacks (no byte fallback): they are charged 0 bytes and "
            "cannot be decoded"};
  const bool has_space = std::any_of(pieces.begin(), pieces.end(),
                                     [](const TokenizerPiece& p) { return p.piece == "\xe2\x96\x81" && p.type == 1; });
  if (!has_space && tokenizer.data().escape_whitespaces)
    return {"no_space_piece",
            "the vocabulary has no stand-alone \"\xe2\x96\x81\" piece: a single space becomes three byte pieces and is "
            "charged 3 bytes"};
  const auto at = static_cast<std::size_t>(
      std::mismatch(decoded.begin(), decoded.end(), normalized.begin(), normalized.end()).first - decoded.begin());
  return {"text_differs", "the decoded text differs from the normalised text at byte " + std::to_string(at)};
}

}  // namespace

NormalizationChange& NormalizationChange::operator+=(const NormalizationChange& other) {
  edge_bytes += other.edge_bytes;
  whitespace_bytes += other.whitespace_bytes;
  character_bytes += other.character_bytes;
  line_breaks += other.line_breaks;
  changed_tokens += other.changed_tokens;
  return *this;
}

Result<DocumentAccount> account_document(const Tokenizer& tokenizer, std::string_view text) {
  if (!tokenizer.bos())
    return bad_data("the tokenizer has no BOS (control piece \"<s>\"), which begins every document");
  P5_TRY(const auto spans, tokenizer.encode_spans(text));
  DocumentAccount account;
  account.source_bytes = text.size();
  account.tokens.reserve(spans.size() + 1);
  account.tokens.push_back(*tokenizer.bos());
  for (const TokenSpan& span : spans) {
    account.charged_bytes += tokenizer.bytes().charge(account.tokens.back(), span.id);
    account.tokens.push_back(span.id);
  }
  P5_TRY(const std::string decoded, tokenizer.decode(account.tokens));
  P5_TRY(const std::string normalized, tokenizer.normalize(text));
  P5_TRY(const std::string check, tokenizer.sentencepiece_decode(account.tokens));
  account.decoded_bytes = decoded.size();
  account.normalized_bytes = normalized.size();
  account.folded_letters = capitals(text) - std::min(capitals(text), capitals(normalized));
  const bool agrees = decoded == check || without_leading_spaces(decoded) == without_leading_spaces(check);
  if (decoded != normalized || account.charged_bytes != decoded.size() || !agrees) {
    const Fault fault = explain(tokenizer, account, decoded, normalized);
    account.fault = fault.text;
    account.fault_id = fault.id;
    return account;
  }
  account.change = changes(tokenizer, text, spans);
  if (account.change.bytes() != difference(text.size(), normalized.size()))
    return internal_error("the changes by normalisation do not sum to the difference of source and charged bytes");
  return account;
}

}  // namespace par5
