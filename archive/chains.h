// Internal to archive/: streams that par5's own coder (archive/coder) holds together in chains, so that what is learnt
// from one tensor serves the next. docs/format.md, "Chains", is the specification.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "archive/coder/chain.h"
#include "archive/streams.h"

namespace par5 {

inline constexpr int kMostChains = 16;  // of each kind

// A chain holds streams of one kind: codes; scales; fp8 values; fp16 values; byte strings, which are no tensors.
enum class ChainKind : std::uint8_t { codes, scales, fp8, fp16, bytes };
ChainKind chain_kind(const StreamSlot& slot, const std::vector<TensorSpec>& specs);

// The chain (0 … kMostChains - 1) that the encoder puts a stream into. Any other would be read as well.
int usual_chain(const StreamSlot& slot, const StoredModel& model);

// How the coder takes a stream of codes or fp8 values: column by column?
bool coded_by_columns(const StreamSlot& slot, const StoredModel& model);
// Rows (as coded) to an earlier row that a row may resemble, or 0 (coder::ChainPart).
std::int64_t partner_distance(const StreamSlot& slot, const StoredModel& model);

struct EncodedSlots {
  std::vector<std::byte> bytes;
  std::vector<std::uint64_t> slot_bytes;  // of each stream; they sum to bytes.size()
};
// Codes streams of tensors of one kind, in file order. Byte strings go to coder::encode_bytes as they are.
Result<EncodedSlots> encode_chain(const StoredModel& model, std::span<const StreamSlot> slots,
                                  const coder::ChainOptions& options);

struct DecodedSlots {
  std::vector<std::uint8_t> raw;  // the streams in Layout::bytes, one after the other
  std::vector<std::uint64_t> slot_bytes;
};
// The inverse. A chain of scale deltas needs the codes of `model`; nothing else of its data is looked at.
Result<DecodedSlots> decode_chain(const StoredModel& model, std::span<const StreamSlot> slots,
                                  std::span<const std::byte> bytes);

}  // namespace par5
