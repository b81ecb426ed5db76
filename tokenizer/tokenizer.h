// A tokenizer at work: text ⇄ token ids by SentencePiece, and the byte accounting of its ids.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"
#include "core/tokenizer_data.h"
#include "tokenizer/shards/token_bytes.h"

namespace par5 {

// One token of a text with the source bytes that it stands for.
struct TokenSpan {
  std::uint16_t id = 0;
  std::size_t begin = 0, end = 0;
};

// Cheap to copy; every member function may be called from several threads at once.
class Tokenizer {
 public:
  // From data (an artifact's) or a .model file. SentencePiece only ever loads models that par5 has checked and written.
  static Result<Tokenizer> from_data(TokenizerData data);
  static Result<Tokenizer> load(const std::string& path);

  const TokenizerData& data() const;
  const TokenBytes& bytes() const;
  const std::string& sha256() const;  // tokenizer_sha256(data())
  std::size_t vocab() const { return bytes().vocab(); }
  // The ids of the control pieces "<s>", "</s>", "<pad>" and of the unknown piece, where there are such.
  std::optional<std::uint16_t> bos() const;
  std::optional<std::uint16_t> eos() const;
  std::optional<std::uint16_t> pad() const;
  std::uint16_t unknown() const;

  // The ids of a text, without BOS. Texts over 64 MiB are a resource_limit error: SentencePiece takes some hundred
  // bytes of memory per byte.
  Result<std::vector<std::uint16_t>> encode(std::string_view text) const;
  Result<std::vector<TokenSpan>> encode_spans(std::string_view text) const;

  // The text that ids are charged for: pieces with "▁" as a space (dropped at the start and after a boundary), byte
  // pieces as their bytes, boundaries as nothing. For the ids of a whole text that is its normalised text, so the size
  // of the result is the sum of the charges. Ids beyond the vocabulary are bad_data.
  Result<std::string> decode(std::span<const std::uint16_t> ids) const;

  // One id's share of `decode`. The id must be below vocab().
  std::string_view surface(std::uint16_t id, bool after_boundary) const;

  // What SentencePiece's normaliser makes of a text, in the form that `decode` gives.
  Result<std::string> normalize(std::string_view text) const;
  // SentencePiece's own decoder, the independent check of `decode`. It drops every "▁" at the start, not one.
  Result<std::string> sentencepiece_decode(std::span<const std::uint16_t> ids) const;

 private:
  struct State;
  std::shared_ptr<const State> state_;
};

inline constexpr std::size_t kMaxTextBytes = std::size_t{64} << 20;

}  // namespace par5
