#include <algorithm>

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

// The decoded bytes of one stream, checked against its checksum.
Result<std::vector<std::uint8_t>> decode_stream(std::span<const std::byte> file, const StreamEntry& stream) {
  std::vector<std::uint8_t> raw(static_cast<std::size_t>(stream.raw_bytes));
  const auto out = std::as_writable_bytes(std::span(raw));
  const auto stored =
      file.subspan(static_cast<std::size_t>(stream.offset), static_cast<std::size_t>(stream.stored_bytes));
  P5_OK(decompress(stream.codec, stored, out));
  if (short_checksum(out) != stream.checksum) return bad_data("its checksum does not hold");
  return raw;
}

Status read_stream(std::span<const std::byte> file, const Container& container, const StreamEntry& stream,
                   Artifact& artifact) {
  P5_TRY(const auto raw, decode_stream(file, stream));
  const auto bytes = std::as_bytes(std::span(raw));
  if (stream.slot.part == Part::tokenizer) {
    ByteReader in(bytes, {}, 0, "the tokenizer");
    P5_TRY(artifact.tokenizer, read_tokenizer(in));
    const auto vocab = static_cast<std::size_t>(container.metadata.model.vocab);
    if (artifact.tokenizer->pieces.size() != vocab)
      return bad_data("its " + std::to_string(artifact.tokenizer->pieces.size()) +
                      " pieces do not fit a vocabulary of " + std::to_string(vocab));
    return {};
  }
  if (stream.slot.part == Part::self_test) {
    ByteReader in(bytes, {}, 0, "the self-test");
    P5_TRY(artifact.self_test, read_self_test(in));
    return {};
  }
  return take_back(artifact.model.tensors[stream.slot.tensor], stream.slot, stream.layout, raw);
}

// Offsets inside a decoded stream mean nothing to who holds the file: the stream's own place does.
Error located(Error error, const StreamEntry& stream, const std::string& path) {
  if (error.code == ErrorCode::bad_data && error.file.empty()) {
    error.message = "'" + path + "' is damaged in the " + stream.slot.name + ": " + error.message;
    error.offset = stream.offset;
  }
  return error.in_file(path);
}

}  // namespace

Result<DecodedArtifact> decode_artifact(std::span<const std::byte> bytes, const std::string& path,
                                        std::size_t threads) {
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

  // A damaged file is decoded all the same, to say where the damage is.
  std::vector<Status> results(container.streams.size());
  parallel_for(container.streams.size(), threads, [&](std::size_t i) {
    results[i] = cancelled() ? Status(interrupted()) : read_stream(bytes, container, container.streams[i], artifact);
  });
  for (std::size_t i = 0; i < results.size(); ++i)
    if (!results[i]) return tl::unexpected(located(std::move(results[i]).error(), container.streams[i], path));
  if (!container.intact)
    return bad_data("'" + path + "' is damaged: the file's checksum does not hold", path,
                    container.file_bytes - kFileChecksumBytes);
  decoded.report = make_report(container, artifact);
  return decoded;
}

Result<DecodedArtifact> read_artifact(const std::string& path, std::size_t threads) {
  P5_TRY(const MappedFile file, MappedFile::open(path));
  return decode_artifact(file.bytes(), path, threads);
}

}  // namespace par5
