// Whether two texts share documents or paragraphs: what shards can no longer show, since normalisation folds line
// breaks.
#pragma once

#include "tokenizer/shards/overlap.h"
#include "tokenizer/text_source.h"

namespace par5 {

// A paragraph counts from so many bytes on: headings and other short lines stand everywhere.
inline constexpr std::size_t kParagraphBytes = 64;

// Documents of B that are in A, byte for byte, and paragraphs (the text between line breaks, runs of white space taken
// as one space) of B's other documents that stand anywhere in A. Reads A and B once each and holds hashes of B alone.
// bytes_b are those of the text. Errors are the sources'.
Result<Overlap> text_overlap(TextSource& a, TextSource& b);

}  // namespace par5
