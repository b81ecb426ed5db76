#include <algorithm>

#include "archive/chains.h"
#include "archive/coder/bytes.h"
#include "archive/container.h"
#include "archive/tokenizer_stream.h"
#include "core/cancel.h"
#include "core/file.h"
#include "core/half.h"
#include "core/parallel.h"

namespace par5 {
namespace {

constexpr std::uint64_t kLongestTokenizer = 1 << 24;
constexpr std::uint64_t kLongestSelfTest = 1 << 20;

// An empty tensor of the right kind, ready for take_back.
StoredTensor blank_tensor(const TensorSpec& spec, const QuantizerConfig& quantizer, int fp8_exponent) {
  StoredTensor tensor;
  tensor.spec = spec;
  switch (spec.storage) {
    case Storage::quantized: {
      QuantizedTensor data;
      data.shape = spec.shape;
      data.quantizer = quantizer;
      data.codes.resize(static_cast<std::size_t>(element_count(spec.shape)));  // parts are filled in by row
      tensor.data = std::move(data);
      break;
    }
    case Storage::fp8:
      tensor.data = Fp8Tensor{{}, fp8_exponent};
      break;
    case Storage::fp16:
      tensor.data = Fp16Tensor{};
      break;
  }
  return tensor;
}

Result<std::vector<SelfTestWindow>> read_self_test(ByteReader& in) {
  std::vector<SelfTestWindow> windows;
  P5_TRY(const std::uint64_t count, in.varint());
  for (std::uint64_t i = 0; i < count; ++i) {
    SelfTestWindow window;
    P5_TRY(const std::uint64_t tokens, in.varint());
    if (tokens > in.remaining() / 2) return in.error("a self-test window claims more tokens than there are");
    for (std::uint64_t t = 0; t < tokens; ++t) {
      P5_TRY(const std::uint64_t token, in.fixed(2));
      window.tokens.push_back(static_cast<std::uint16_t>(token));
    }
    P5_TRY(window.expected_millibits, in.varint());
    windows.push_back(std::move(window));
  }
  if (in.remaining() != 0) return in.error("the self-test has bytes after its end");
  return windows;
}

std::span<const std::byte> stored_bytes(std::span<const std::byte> file, const StreamEntry& entry) {
  return file.subspan(static_cast<std::size_t>(entry.offset), static_cast<std::size_t>(entry.stored_bytes));
}

// The decoded bytes of one stream, checked against its checksum.
Result<std::vector<std::uint8_t>> decode_stream(std::span<const std::byte> file, const StreamEntry& entry) {
  std::vector<std::uint8_t> raw(static_cast<std::size_t>(entry.raw_bytes));
  const auto out = std::as_writable_bytes(std::span(raw));
  P5_OK(decompress(entry.codec, stored_bytes(file, entry), out));
  if (!checksum_holds(entry.checksum, short_checksum(out))) return bad_data("its checksum does not hold");
  return raw;
}

// A decoded tokenizer or self-test.
Status read_string(const Container& container, const StreamSlot& slot, std::span<const std::byte> bytes,
                   Artifact& artifact) {
  if (slot.part == Part::tokenizer) {
    ByteReader in(bytes, {}, 0, "the tokenizer");
    P5_TRY(artifact.tokenizer, read_tokenizer(in));
    const auto vocab = static_cast<std::size_t>(container.metadata.model.vocab);
    if (artifact.tokenizer->pieces.size() != vocab)
      return bad_data("its " + std::to_string(artifact.tokenizer->pieces.size()) +
                      " pieces do not fit a vocabulary of " + std::to_string(vocab));
    return {};
  }
  ByteReader in(bytes, {}, 0, "the self-test");
  P5_TRY(artifact.self_test, read_self_test(in));
  return {};
}

Status read_stream(std::span<const std::byte> file, const Container& container, const StreamEntry& entry,
                   ExternalPrograms programs, Artifact& artifact) {
  if (entry.codec == Codec::lrzip && programs == ExternalPrograms::refused)
    return bad_data("it needs the external program lrzip, which is not to be run here");
  P5_TRY(const auto raw, decode_stream(file, entry));
  const StreamSlot& slot = container.slots[entry.slots[0]];
  if (chain_kind(slot, container.specs) == ChainKind::bytes)
    return read_string(container, slot, std::as_bytes(std::span(raw)), artifact);
  return take_back(artifact.model.tensors[slot.tensor], slot, entry.layout, raw);
}

// A chain of byte strings, and what each of them took of its bytes.
Status read_string_chain(std::span<const std::byte> file, const Container& container, const StreamEntry& entry,
                         Artifact& artifact, std::vector<std::uint64_t>& slot_bytes) {
  std::vector<std::byte> raw(static_cast<std::size_t>(entry.raw_bytes));
  std::vector<std::span<std::byte>> strings;
  std::span<std::byte> rest(raw);
  for (const std::size_t i : entry.slots) {
    const bool tokenizer = container.slots[i].part == Part::tokenizer;
    const auto bytes =
        static_cast<std::size_t>(tokenizer ? container.metadata.tokenizer_bytes : container.metadata.self_test_bytes);
    strings.push_back(rest.first(bytes));
    rest = rest.subspan(bytes);
  }
  P5_TRY(const auto string_bytes, coder::decode_bytes(stored_bytes(file, entry), strings));
  if (!checksum_holds(entry.checksum, short_checksum(raw))) return bad_data("its checksum does not hold");
  for (std::size_t i = 0; i < strings.size(); ++i) {
    slot_bytes[entry.slots[i]] = string_bytes[i];
    P5_OK(read_string(container, container.slots[entry.slots[i]], strings[i], artifact));
  }
  return {};
}

// A chain of tensors' streams, likewise.
Status read_chain(std::span<const std::byte> file, const Container& container, const StreamEntry& entry,
                  Artifact& artifact, std::vector<std::uint64_t>& slot_bytes) {
  if (chain_kind(container.slots[entry.slots[0]], container.specs) == ChainKind::bytes)
    return read_string_chain(file, container, entry, artifact, slot_bytes);
  std::vector<StreamSlot> slots;
  for (const std::size_t i : entry.slots) slots.push_back(container.slots[i]);
  P5_TRY(const DecodedSlots decoded, decode_chain(artifact.model, slots, stored_bytes(file, entry)));
  if (!checksum_holds(entry.checksum, short_checksum(std::as_bytes(std::span(decoded.raw)))))
    return bad_data("its checksum does not hold");
  std::size_t used = 0;
  for (std::size_t i = 0; i < slots.size(); ++i) {
    const auto bytes = static_cast<std::size_t>(
        laid_out_bytes(slots[i], &container.specs[slots[i].tensor], container.metadata.quantizer, entry.layout));
    P5_OK(take_back(artifact.model.tensors[slots[i].tensor], slots[i], entry.layout,
                    std::span(decoded.raw).subspan(used, bytes)));
    used += bytes;
    slot_bytes[entry.slots[i]] = decoded.slot_bytes[i];
  }
  return {};
}

bool is_chain_of_scales(const Container& container, const StreamEntry& entry) {
  return entry.codec == Codec::own && container.slots[entry.slots[0]].part == Part::scales;
}

// Offsets inside a decoded stream mean nothing to who holds the file: the stream's own place does.
Error located(Error error, const Container& container, const StreamEntry& entry, const std::string& path) {
  if (error.code == ErrorCode::bad_data && error.file.empty()) {
    error.message = "'" + path + "' is damaged in the " + container.slots[entry.slots[0]].name +
                    (entry.slots.size() > 1 ? " or what is coded with them" : "") + ": " + error.message;
    error.offset = entry.offset;
  }
  if (error.code == ErrorCode::missing_tool)
    error.message = "the " + container.slots[entry.slots[0]].name + " of '" + path +
                    "' cannot be decoded: " + error.message + ", or pack the model without --codecs lrzip";
  return error.in_file(path);
}

}  // namespace

Result<DecodedArtifact> decode_artifact(std::span<const std::byte> bytes, const std::string& path, std::size_t threads,
                                        ExternalPrograms programs) {
  P5_TRY(const Container container, parse_container(bytes, path));
  const Metadata& metadata = container.metadata;
  if (metadata.tokenizer_bytes > kLongestTokenizer || metadata.self_test_bytes > kLongestSelfTest)
    return resource_limit("'" + path + "' claims a tokenizer or self-test beyond the reader's bounds");
  DecodedArtifact decoded;
  Artifact& artifact = decoded.artifact;
  artifact.model.model = metadata.model;
  artifact.model.quantizer = metadata.quantizer;
  artifact.tokenizer_sha256 = metadata.tokenizer_sha256;
  artifact.temperature = metadata.temperature;
  artifact.extras = metadata.extras;

  const auto fp8_count = static_cast<std::size_t>(std::count_if(
      container.specs.begin(), container.specs.end(), [](const auto& spec) { return spec.storage == Storage::fp8; }));
  if (!metadata.fp8_exponents.empty() && metadata.fp8_exponents.size() != fp8_count)
    return bad_data("'" + path + "' is damaged: it has " + std::to_string(metadata.fp8_exponents.size()) +
                        " exponents for " + std::to_string(fp8_count) + " fp8 tensors",
                    path, container.metadata_offset);
  std::size_t fp8_index = 0;
  for (const TensorSpec& spec : container.specs) {
    int exponent = 0;
    if (spec.storage == Storage::fp8 && !metadata.fp8_exponents.empty())
      exponent = static_cast<std::int8_t>(metadata.fp8_exponents[fp8_index++]);
    artifact.model.tensors.push_back(blank_tensor(spec, metadata.quantizer, exponent));
  }

  // A damaged file is decoded all the same, to say where the damage is. Largest first, so that no thread is left with a
  // large one at the end; chains of scales need the codes.
  std::vector<std::uint64_t> slot_bytes(container.slots.size(), 0);
  std::vector<Status> results(container.entries.size());
  for (const bool scales : {false, true}) {
    std::vector<std::size_t> order;
    for (std::size_t i = 0; i < container.entries.size(); ++i)
      if (is_chain_of_scales(container, container.entries[i]) == scales) order.push_back(i);
    std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
      return container.entries[a].raw_bytes > container.entries[b].raw_bytes;
    });
    parallel_for(order.size(), threads, [&](std::size_t k) {
      const StreamEntry& entry = container.entries[order[k]];
      Status& result = results[order[k]];
      if (cancelled()) {
        result = interrupted();
      } else if (entry.codec == Codec::own) {
        result = read_chain(bytes, container, entry, artifact, slot_bytes);
      } else {
        slot_bytes[entry.slots[0]] = entry.stored_bytes;
        result = read_stream(bytes, container, entry, programs, artifact);
      }
    });
    for (std::size_t i = 0; i < results.size(); ++i)
      if (!results[i])
        return tl::unexpected(located(std::move(results[i]).error(), container, container.entries[i], path));
  }
  if (!container.intact)
    return bad_data("'" + path + "' is damaged: the file's checksum does not hold", path,
                    container.file_bytes - kFileChecksumBytes);
  decoded.report = make_report(container, artifact, slot_bytes);
  return decoded;
}

Result<DecodedArtifact> read_artifact(const std::string& path, std::size_t threads) {
  P5_TRY(const MappedFile file, MappedFile::open(path));
  return decode_artifact(file.bytes(), path, threads);
}

}  // namespace par5
