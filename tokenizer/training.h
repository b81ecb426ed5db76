// Training a tokenizer: SentencePiece BPE with the parameter-golf challenge's options.
#pragma once

#include <cstdint>
#include <string>

#include "core/error.h"
#include "tokenizer/text_source.h"

namespace par5 {

struct TrainedTokenizer {
  std::string model;  // the .model file
  std::uint64_t documents = 0;
  std::uint64_t lines = 0;           // lines that were learnt from; each is one sentence to SentencePiece
  std::uint64_t bytes = 0;           // of those lines
  std::uint64_t reserved_lines = 0;  // left out by SentencePiece: they contain its own mark U+2585
};

// Learns `vocab` pieces: BPE, byte_fallback, split_digits, nmt_nfkc, no dummy prefix, character coverage 0.999, pad,
// BOS, EOS and unknown as 0, 1, 2, 3, then the 256 byte pieces. The model depends on the text and `vocab` alone:
// training threads are pinned and no paths are passed. Errors: usage for a vocabulary outside 261 … 65536, or too small
// or too large for the text (the message says the bound), bad_data for a text without characters, those of
// TextSource::next.
Result<TrainedTokenizer> train_tokenizer(TextSource& source, std::int64_t vocab);

}  // namespace par5
