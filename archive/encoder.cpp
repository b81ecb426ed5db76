#include <algorithm>
#include <mutex>

#include "archive/container.h"
#include "archive/tokenizer_stream.h"
#include "core/cancel.h"
#include "core/parallel.h"
#include "core/progress.h"

namespace par5 {
namespace {

constexpr std::uint8_t lzma_properties(int lc, int lp, int pb) {
  return static_cast<std::uint8_t>((pb * 5 + lp) * 9 + lc);
}

// One way to store a stream, and what came of it.
struct Candidate {
  std::size_t stream = 0;
  Layout layout = Layout::bytes;
  CodecChoice choice;
  std::vector<std::byte> stored;
  std::uint64_t raw_bytes = 0;
  std::uint32_t checksum = 0;
};

// Smaller wins, then the simpler codec, then the earlier candidate: the choice never depends on threads or time.
bool better(const Candidate& a, const Candidate& b) {
  if (a.stored.size() != b.stored.size()) return a.stored.size() < b.stored.size();
  return a.choice.codec < b.choice.codec;
}

// The amount of work: below 3 LZMA on every layout; up to 6 then brotli, zstd and other LZMA properties on the two
// layouts that LZMA made smallest; from 7 on everything on every layout.
std::vector<CodecChoice> first_codecs() { return {{Codec::raw, 0}, {Codec::lzma, lzma_properties(0, 0, 0)}}; }
std::vector<CodecChoice> second_codecs(Layout layout, int effort) {
  std::vector<CodecChoice> choices;
  if (effort < 3) return choices;
  choices.push_back({Codec::brotli, 0});
  choices.push_back({Codec::zstd, 0});
  const bool two_bytes = layout == Layout::bytes || layout == Layout::bytes_t;
  if (two_bytes) choices.push_back({Codec::lzma, lzma_properties(0, 1, 1)});
  choices.push_back({Codec::lzma, lzma_properties(3, 0, 0)});
  if (effort < 7) return choices;
  for (int pb = 0; pb <= 2; ++pb)
    for (int lp = 0; lp <= 2; ++lp)
      for (int lc = 0; lc + lp <= 4; ++lc) choices.push_back({Codec::lzma, lzma_properties(lc, lp, pb)});
  return choices;
}

// The bytes of the streams that are no tensors.
struct OtherStreams {
  std::vector<std::byte> tokenizer;
  std::vector<std::byte> self_test;
};

Result<std::vector<std::byte>> stream_bytes(const Artifact& artifact, const OtherStreams& other, const StreamSlot& slot,
                                            Layout layout) {
  if (slot.part == Part::tokenizer) return other.tokenizer;
  if (slot.part == Part::self_test) return other.self_test;
  P5_TRY(const auto laid_out, lay_out(artifact.model.tensors[slot.tensor], slot, layout));
  const auto bytes = std::as_bytes(std::span(laid_out));
  return std::vector<std::byte>(bytes.begin(), bytes.end());
}

// Runs the candidates in parallel and fills in their results.
Status run(const Artifact& artifact, const OtherStreams& other, const std::vector<StreamSlot>& slots,
           std::vector<Candidate>& candidates, std::size_t threads, const std::string& what) {
  std::vector<Status> results(candidates.size());
  Progress progress(what, candidates.size(), "candidates");
  std::mutex mutex;
  std::uint64_t done = 0;
  parallel_for(candidates.size(), threads, [&](std::size_t i) {
    results[i] = [&]() -> Status {
      if (cancelled()) return interrupted();
      Candidate& candidate = candidates[i];
      P5_TRY(const auto raw, stream_bytes(artifact, other, slots[candidate.stream], candidate.layout));
      P5_TRY(candidate.stored, compress(candidate.choice, raw));
      candidate.raw_bytes = raw.size();
      candidate.checksum = short_checksum(raw);
      return {};
    }();
    const std::lock_guard lock(mutex);
    progress.update(++done);
  });
  for (const Status& result : results) P5_OK(result);
  return {};
}

// The best candidate of every stream.
Result<std::vector<Candidate>> choose(const Artifact& artifact, const OtherStreams& other,
                                      const std::vector<StreamSlot>& slots, const std::vector<TensorSpec>& specs,
                                      const EncodeOptions& options) {
  std::vector<Candidate> candidates;
  for (std::size_t i = 0; i < slots.size(); ++i)
    for (const Layout layout : layouts_of(slots[i], &specs[slots[i].tensor], artifact.model.quantizer))
      for (const CodecChoice choice : first_codecs()) candidates.push_back({i, layout, choice, {}, 0, 0});
  P5_OK(run(artifact, other, slots, candidates, options.threads, "packing, first round"));

  std::vector<Candidate> second;
  std::vector<std::vector<const Candidate*>> by_stream(slots.size());
  for (const Candidate& candidate : candidates)
    if (candidate.choice.codec == Codec::lzma) by_stream[candidate.stream].push_back(&candidate);
  for (std::size_t i = 0; i < slots.size(); ++i) {
    std::stable_sort(by_stream[i].begin(), by_stream[i].end(),
                     [](const Candidate* a, const Candidate* b) { return better(*a, *b); });
    const std::size_t survivors =
        options.effort >= 7 ? by_stream[i].size() : std::min<std::size_t>(2, by_stream[i].size());
    for (std::size_t k = 0; k < survivors; ++k)
      for (const CodecChoice choice : second_codecs(by_stream[i][k]->layout, options.effort))
        second.push_back({i, by_stream[i][k]->layout, choice, {}, 0, 0});
  }
  P5_OK(run(artifact, other, slots, second, options.threads, "packing, second round"));
  candidates.insert(candidates.end(), std::make_move_iterator(second.begin()), std::make_move_iterator(second.end()));

  std::vector<const Candidate*> best(slots.size(), nullptr);
  for (const Candidate& candidate : candidates)
    if (!best[candidate.stream] || better(candidate, *best[candidate.stream])) best[candidate.stream] = &candidate;
  std::vector<Candidate> chosen;
  for (const Candidate* candidate : best) chosen.push_back(*candidate);
  return chosen;
}

// What decode could not give back: an artifact that contradicts itself.
Status check_artifact(const Artifact& artifact, const std::vector<TensorSpec>& specs) {
  const StoredModel& model = artifact.model;
  P5_OK(check_model(model.model, model.quantizer));
  if (model.tensors.size() != specs.size()) return bad_data("the model lacks tensors that its configuration implies");
  for (std::size_t i = 0; i < specs.size(); ++i) {
    const StoredTensor& tensor = model.tensors[i];
    const auto wrong = [&](const std::string& what) {
      return bad_data("tensor '" + tensor.spec.name + "' " + what, {}, std::nullopt, tensor.spec.name);
    };
    if (tensor.spec.name != specs[i].name || tensor.spec.shape != specs[i].shape)
      return wrong("is not the '" + specs[i].name + "' " + to_string(specs[i].shape) +
                   " that the configuration implies");
    const auto count = static_cast<std::size_t>(element_count(specs[i].shape));
    std::size_t values = 0;
    Storage storage = Storage::fp16;
    if (const auto* quantized = std::get_if<QuantizedTensor>(&tensor.data)) {
      storage = Storage::quantized;
      values = quantized->codes.size();
      if (!(quantized->quantizer == model.quantizer)) return wrong("has another quantiser than the model");
      const auto scales = static_cast<std::size_t>(scale_count(specs[i].shape, model.quantizer));
      const bool has_deltas = quantized->deltas.has_value();
      if (quantized->scales.size() != scales || has_deltas != (model.quantizer.scale_bits < 16) ||
          (has_deltas &&
           (quantized->deltas->deltas.size() != scales || quantized->deltas->bits != model.quantizer.scale_bits)))
        return wrong("has scales that do not fit its quantiser");
    } else if (const auto* fp8 = std::get_if<Fp8Tensor>(&tensor.data)) {
      storage = Storage::fp8;
      values = fp8->codes.size();
      if (fp8->exponent < -128 || fp8->exponent > 127) return wrong("has an fp8 exponent outside -128 … 127");
    } else {
      values = std::get<Fp16Tensor>(tensor.data).codes.size();
    }
    if (storage != specs[i].storage || values != count) return wrong("is not stored as its configuration implies");
  }
  if (artifact.tokenizer && artifact.tokenizer->pieces.size() != static_cast<std::size_t>(model.model.vocab))
    return bad_data("the tokenizer has " + std::to_string(artifact.tokenizer->pieces.size()) +
                    " pieces where the model's vocabulary has " + std::to_string(model.model.vocab));
  if (!artifact.tokenizer_sha256.empty() &&
      (artifact.tokenizer_sha256.size() != 64 ||
       artifact.tokenizer_sha256.find_first_not_of("0123456789abcdef") != std::string::npos))
    return bad_data("the tokenizer's SHA-256 is not 64 hexadecimal digits");
  if (!(artifact.temperature > 0)) return bad_data("the temperature is not positive");
  return {};
}

std::vector<std::byte> write_self_test(const std::vector<SelfTestWindow>& windows) {
  ByteWriter out;
  if (windows.empty()) return {};
  out.varint(windows.size());
  for (const SelfTestWindow& window : windows) {
    out.varint(window.tokens.size());
    for (const std::uint16_t token : window.tokens) out.fixed(token, 2);
    out.varint(window.expected_millibits);
  }
  return out.take();
}

Metadata describe(const Artifact& artifact, const OtherStreams& other) {
  Metadata metadata;
  metadata.model = artifact.model.model;
  metadata.quantizer = artifact.model.quantizer;
  metadata.tokenizer_sha256 = artifact.tokenizer_sha256;
  metadata.temperature = artifact.temperature;
  metadata.tokenizer_bytes = other.tokenizer.size();
  metadata.self_test_bytes = other.self_test.size();
  metadata.codec_versions = codec_library_versions();
  metadata.extras = artifact.extras;
  bool scaled = false;
  for (const StoredTensor& tensor : artifact.model.tensors)
    if (const auto* fp8 = std::get_if<Fp8Tensor>(&tensor.data)) {
      metadata.fp8_exponents.push_back(static_cast<std::byte>(fp8->exponent));
      scaled = scaled || fp8->exponent != 0;
    }
  if (!scaled) metadata.fp8_exponents.clear();
  return metadata;
}

std::vector<std::byte> assemble(const Metadata& metadata, const std::vector<StreamSlot>& slots,
                                const std::vector<Candidate>& chosen) {
  ByteWriter head;
  write_metadata(head, metadata);
  for (const Candidate& stream : chosen)
    head.fixed(static_cast<std::uint64_t>(stream.choice.codec) << 4 | static_cast<std::uint64_t>(stream.layout), 1);
  for (std::size_t i = 0; i < chosen.size(); ++i) {
    head.varint(chosen[i].stored.size());
    if (!size_is_implied(slots[i], metadata.quantizer, chosen[i].layout)) head.varint(chosen[i].raw_bytes);
  }
  for (const Candidate& stream : chosen) head.fixed(stream.checksum, kStreamChecksumBytes);

  ByteWriter file;
  file.raw(kMagic);
  file.fixed(kFormatVersion, 1);
  file.counted(head.bytes());
  file.fixed(short_checksum(file.bytes()), kStreamChecksumBytes);
  for (const Candidate& stream : chosen) file.raw(stream.stored);
  file.fixed(xxh3_64(file.bytes()), kFileChecksumBytes);
  return file.take();
}

}  // namespace

Result<EncodedArtifact> encode_artifact(const Artifact& artifact, const EncodeOptions& options) {
  const StoredModel& model = artifact.model;
  const std::vector<TensorSpec> specs = tensor_specs(model.model);
  P5_OK(check_artifact(artifact, specs));
  OtherStreams other;
  if (artifact.tokenizer) {
    P5_TRY(other.tokenizer, write_tokenizer(*artifact.tokenizer));
  }
  other.self_test = write_self_test(artifact.self_test);
  const std::vector<StreamSlot> slots =
      stream_slots(model.model, model.quantizer, specs, !other.tokenizer.empty(), !other.self_test.empty());
  P5_TRY(const auto chosen, choose(artifact, other, slots, specs, options));

  EncodedArtifact encoded;
  encoded.bytes = assemble(describe(artifact, other), slots, chosen);
  // What cannot be read back is never handed out.
  P5_TRY(auto decoded, decode_artifact(encoded.bytes, "the new artifact", options.threads));
  if (!same_artifact(artifact, decoded.artifact))
    return internal_error("the new artifact does not decode to what was packed");
  encoded.report = std::move(decoded.report);
  return encoded;
}

}  // namespace par5
