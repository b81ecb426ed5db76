#include "archive/encoder.h"

#include <algorithm>

#include "archive/container.h"
#include "archive/tokenizer_stream.h"

namespace par5 {
namespace {

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

}  // namespace

Result<OtherStreams> other_streams(const Artifact& artifact) {
  OtherStreams other;
  if (artifact.tokenizer) {
    P5_TRY(other.tokenizer, write_tokenizer(*artifact.tokenizer));
  }
  other.self_test = write_self_test(artifact.self_test);
  return other;
}

Metadata describe(const Artifact& artifact, const OtherStreams& other, const Choice& choice) {
  Metadata metadata;
  metadata.model = artifact.model.model;
  metadata.quantizer = artifact.model.quantizer;
  metadata.tokenizer_sha256 = artifact.tokenizer_sha256;
  metadata.temperature = artifact.temperature;
  metadata.tokenizer_bytes = other.tokenizer.size();
  metadata.self_test_bytes = other.self_test.size();
  const bool own_alone = std::all_of(choice.entries.begin(), choice.entries.end(), [](const ChosenEntry& entry) {
    return entry.codec == Codec::raw || entry.codec == Codec::own;
  });
  if (!own_alone) metadata.codec_versions = codec_library_versions();
  if (std::any_of(choice.entries.begin(), choice.entries.end(),
                  [](const ChosenEntry& entry) { return entry.codec == Codec::lrzip; }))
    metadata.codec_versions += " lrzip " + codec_detail::lrzip_version();
  metadata.time_limited = choice.cut;
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

namespace {

std::vector<std::byte> assemble(const Metadata& metadata, const std::vector<StreamSlot>& slots,
                                const std::vector<ChosenEntry>& entries) {
  ByteWriter head;
  write_metadata(head, metadata);
  std::vector<std::uint8_t> codings(slots.size());
  for (const ChosenEntry& entry : entries)
    for (const std::size_t slot : entry.slots)
      codings[slot] =
          static_cast<std::uint8_t>(static_cast<int>(entry.codec) << 4 |
                                    (entry.codec == Codec::own ? entry.chain : static_cast<int>(entry.layout)));
  head.raw(std::as_bytes(std::span(codings)));
  for (const ChosenEntry& entry : entries) {
    head.varint(entry.stored.size());
    if (!size_is_implied(slots[entry.slots[0]], metadata.quantizer, entry.layout)) head.varint(entry.raw_bytes);
  }
  for (const ChosenEntry& entry : entries) head.fixed(entry.checksum, kStreamChecksumBytes);

  ByteWriter file;
  file.raw(kMagic);
  file.fixed(kFormatVersion, 1);
  file.counted(head.bytes());
  file.fixed(short_checksum(file.bytes()), kStreamChecksumBytes);
  for (const ChosenEntry& entry : entries) file.raw(entry.stored);
  file.fixed(xxh3_64(file.bytes()), kFileChecksumBytes);
  return file.take();
}

}  // namespace

Result<EncodedArtifact> encode_artifact(const Artifact& artifact, const EncodeOptions& options) {
  const StoredModel& model = artifact.model;
  const std::vector<TensorSpec> specs = tensor_specs(model.model);
  P5_OK(check_artifact(artifact, specs));
  P5_TRY(const OtherStreams other, other_streams(artifact));
  const std::vector<StreamSlot> slots =
      stream_slots(model.model, model.quantizer, specs, !other.tokenizer.empty(), !other.self_test.empty());
  P5_TRY(Choice choice, choose_entries(artifact, other, slots, specs, options));

  EncodedArtifact encoded;
  encoded.bytes = assemble(describe(artifact, other, choice), slots, choice.entries);
  encoded.trials = std::move(choice.trials);
  // What cannot be read back is never handed out.
  P5_TRY(auto decoded, decode_artifact(encoded.bytes, "the new artifact", options.threads));
  if (!same_artifact(artifact, decoded.artifact))
    return internal_error("the new artifact does not decode to what was packed");
  encoded.report = std::move(decoded.report);
  return encoded;
}

}  // namespace par5
