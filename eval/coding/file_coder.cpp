#include "eval/coding/file_coder.h"

#include <algorithm>
#include <optional>

#include "archive/byte_io.h"
#include "archive/codec.h"
#include "core/cancel.h"
#include "core/file.h"
#include "core/log.h"
#include "eval/coding/source_text.h"

namespace par5 {
namespace {

constexpr std::string_view kMagic = "p5cz";
// A block's method: a plain codec's number, or this.
constexpr std::uint8_t kModelMethod = 128;
bool is_method(std::uint64_t method) {
  return method == kModelMethod || method <= static_cast<std::uint64_t>(Codec::brotli);
}
constexpr std::int64_t kLongestWindow = std::int64_t{1} << 20;
// lc = 3, lp = 0, pb = 2
constexpr std::uint8_t kLzmaProperties = 93;
// The model is not tried where a plain codec reaches this fraction of a block: no language model is near it.
constexpr std::size_t kPlainIsEnough = 20;

std::string_view text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// Of a block that the model codes. Tokens that decode to nothing need no text, so their number is bounded on its own.
std::uint64_t most_tokens(std::uint64_t raw_bytes) { return 2 * raw_bytes + 64; }

struct PlainBlock {
  Codec codec = Codec::raw;
  std::vector<std::byte> bytes;
};

Result<PlainBlock> best_plain(std::span<const std::byte> raw) {
  PlainBlock best{Codec::raw, {raw.begin(), raw.end()}};
  for (const CodecChoice& choice :
       {CodecChoice{Codec::lzma, kLzmaProperties}, CodecChoice{Codec::zstd, 0}, CodecChoice{Codec::brotli, 0}}) {
    P5_TRY(std::vector<std::byte> bytes, compress(choice, raw));
    if (bytes.size() < best.bytes.size()) best = {choice.codec, std::move(bytes)};
  }
  return best;
}

// Codes blocks with the model. One engine serves all of them.
class BlockCoder {
 public:
  static Result<std::unique_ptr<BlockCoder>> create(const CodingModel& model, const Tokenizer& tokenizer,
                                                    Arithmetic arithmetic, std::int64_t window,
                                                    const FileCoderOptions& options) {
    if (tokenizer.vocab() != static_cast<std::size_t>(model.artifact.model.model.vocab))
      return usage_error("the tokenizer and the model have different vocabularies", "--tokenizer");
    P5_TRY(Engine engine, Engine::create(model.artifact.model, {arithmetic, options.kernel, options.threads}));
    return std::unique_ptr<BlockCoder>(
        new BlockCoder(std::move(engine), model.artifact.temperature, tokenizer, window));
  }

  struct Coded {
    std::vector<std::byte> bytes;
    std::uint64_t tokens = 0, payload = 0, changes = 0;
  };

  // Nothing where the model does not suit the block or does not give it back.
  Result<std::optional<Coded>> encode(std::span<const std::byte> raw) {
    P5_TRY(const SourceText source, tokenize_source(tokenizer_, text_of(raw)));
    if (source.byte_pieces * 2 > source.tokens.size() || source.tokens.size() > most_tokens(raw.size()))
      return std::nullopt;
    const std::int64_t lanes = lane_count(source.tokens.size());
    const std::vector<std::vector<std::uint16_t>> texts = lane_texts(source.tokens, lanes);
    const std::vector<std::span<const std::uint16_t>> spans(texts.begin(), texts.end());
    TokenCoder coder(engine_, temperature_, rule());
    P5_TRY(const EncodedTokens encoded, coder.encode(spans, nullptr));
    const std::vector<std::byte> changes = encode_changes(source.text, source.edits);
    ByteWriter out;
    out.varint(source.tokens.size());
    out.varint(static_cast<std::uint64_t>(lanes));
    out.varint(encoded.payload.size());
    out.varint(changes.size());
    out.raw(encoded.payload);
    out.raw(changes);
    Coded coded{out.take(), source.tokens.size(), encoded.payload.size(), changes.size()};
    const auto decoded = decode(coded.bytes, raw.size());
    if (!decoded && decoded.error().code == ErrorCode::interrupted) return tl::unexpected(decoded.error());
    if (!decoded || !std::equal(decoded->begin(), decoded->end(), text_of(raw).begin(), text_of(raw).end())) {
      log_warning("a block did not decode to itself and is stored by a plain codec");
      return std::nullopt;
    }
    return coded;
  }

  Result<std::string> decode(std::span<const std::byte> bytes, std::uint64_t raw_bytes) {
    ByteReader in(bytes, {}, 0, "a block");
    P5_TRY(const std::uint64_t tokens, in.varint());
    P5_TRY(const std::uint64_t lanes, in.varint());
    P5_TRY(const std::uint64_t payload_bytes, in.varint());
    P5_TRY(const std::uint64_t changes_bytes, in.varint());
    if (tokens > most_tokens(raw_bytes) || lanes < 1 || lanes > static_cast<std::uint64_t>(kMostLanes))
      return bad_data("a block claims " + std::to_string(tokens) + " tokens in " + std::to_string(lanes) + " lanes");
    P5_TRY(const auto payload, in.bytes(payload_bytes));
    P5_TRY(const auto changes, in.bytes(changes_bytes));
    if (in.remaining() != 0) return bad_data("a block has bytes behind its end");
    std::vector<LaneStart> starts;
    for (const auto& [first, end] : ranges(static_cast<std::int64_t>(tokens), static_cast<std::int64_t>(lanes)))
      starts.push_back({bos(), end - first});
    TokenCoder coder(engine_, temperature_, rule());
    P5_TRY(const auto texts, coder.decode(starts, payload, nullptr));
    std::vector<std::uint16_t> all;
    for (const auto& text : texts) all.insert(all.end(), text.begin() + 1, text.end());
    return restore_source(token_text(tokenizer_, all), changes, raw_bytes);
  }

  std::string_view kernel() const { return engine_.kernel(); }

 private:
  BlockCoder(Engine engine, double temperature, const Tokenizer& tokenizer, std::int64_t window)
      : engine_(std::move(engine)), temperature_(temperature), tokenizer_(tokenizer), window_(window) {}

  std::uint16_t bos() const { return tokenizer_.bos().value_or(0); }
  WindowRule rule() const { return {window_, window_, false, 0}; }

  std::int64_t lane_count(std::size_t tokens) const {
    const std::int64_t windows = (static_cast<std::int64_t>(tokens) + window_ - 1) / window_;
    return std::clamp<std::int64_t>(windows, 1, lanes_in_memory(engine_.model(), window_));
  }

  // Whole windows in every lane, as in a chunked bitstream.
  std::vector<std::pair<std::int64_t, std::int64_t>> ranges(std::int64_t tokens, std::int64_t lanes) const {
    CodingParameters parameters;
    parameters.window = parameters.stride = window_;
    const std::vector<std::uint16_t> stand_in(static_cast<std::size_t>(tokens) + 1);
    return split_lanes(stand_in, parameters, lanes);
  }

  // Every lane begins with a BOS instead of the token before it, so that lanes cost nothing.
  std::vector<std::vector<std::uint16_t>> lane_texts(std::span<const std::uint16_t> tokens, std::int64_t lanes) const {
    std::vector<std::vector<std::uint16_t>> texts;
    for (const auto& [first, end] : ranges(static_cast<std::int64_t>(tokens.size()), lanes)) {
      auto& text = texts.emplace_back(1, bos());
      text.insert(text.end(), tokens.begin() + (first - 1), tokens.begin() + (end - 1));
    }
    return texts;
  }

  Engine engine_;
  double temperature_;
  const Tokenizer& tokenizer_;
  std::int64_t window_;
};

// Reads until the span is full or the input ends.
Result<std::size_t> read_full(const ReadBytes& read, std::span<std::byte> out) {
  std::size_t count = 0;
  while (count < out.size()) {
    P5_TRY(const std::size_t more, read(out.subspan(count)));
    if (more == 0) break;
    count += more;
  }
  return count;
}

// A cursor over input that comes bit by bit.
class StreamReader {
 public:
  StreamReader(const ReadBytes& read, std::string path) : read_(read), path_(std::move(path)) {}

  Result<std::vector<std::byte>> bytes(std::uint64_t count) {
    std::vector<std::byte> result(static_cast<std::size_t>(count));
    P5_TRY(const std::size_t found, read_full(read_, result));
    offset_ += found;
    if (found < count)
      return error("it is truncated: " + std::to_string(count - found) + " more bytes should stand here");
    if (offset_ <= kKept) taken_.insert(taken_.end(), result.begin(), result.end());
    return result;
  }
  Result<std::uint64_t> fixed(int width) {
    P5_TRY(const auto part, bytes(static_cast<std::uint64_t>(width)));
    ByteReader in(part, path_, offset_ - part.size(), "a number");
    return in.fixed(width);
  }
  Result<std::uint64_t> varint() {
    std::uint64_t value = 0;
    for (int shift = 0; shift < 63; shift += 7) {
      P5_TRY(const std::uint64_t byte, fixed(1));
      value |= (byte & 127) << shift;
      if (byte < 128) return value;
    }
    return error("a number is larger than 63 bits");
  }
  tl::unexpected<Error> error(const std::string& message) const {
    return bad_data("'" + path_ + "' is damaged: " + message, path_, offset_);
  }
  std::uint64_t offset() const { return offset_; }
  // The bytes so far, while they are few: the header.
  std::span<const std::byte> taken() const { return taken_; }

 private:
  static constexpr std::uint64_t kKept = 64;
  std::vector<std::byte> taken_;
  const ReadBytes& read_;
  std::string path_;
  std::uint64_t offset_ = 0;
};

// Of what a block was and of what stands for it.
std::uint64_t block_checksum(std::span<const std::byte> raw, std::span<const std::byte> stored) {
  return (xxh3_64(raw) ^ xxh3_64(stored)) & 0xffffffffu;
}

std::uint64_t short_hash(Sha256& hash) {
  const Digest digest = hash.finish();
  std::uint64_t value = 0;
  for (int i = 0; i < 8; ++i) value |= std::to_integer<std::uint64_t>(digest[static_cast<std::size_t>(i)]) << (8 * i);
  return value;
}

}  // namespace

Result<FileCoderSummary> compress_file(const CodingModel& model, const Tokenizer& tokenizer,
                                       const FileCoderOptions& options, const ReadBytes& read, const WriteBytes& write,
                                       std::uint64_t total) {
  const std::int64_t window = options.window > 0 ? options.window : model.artifact.model.model.context;
  P5_TRY(const std::unique_ptr<BlockCoder> coder,
         BlockCoder::create(model, tokenizer, options.arithmetic, window, options));
  FileCoderSummary summary;
  summary.kernel = coder->kernel();
  summary.arithmetic = arithmetic_name(options.arithmetic);
  const auto emit = [&](std::span<const std::byte> bytes) {
    summary.output_bytes += bytes.size();
    return write(bytes);
  };
  ByteWriter header;
  header.raw(as_bytes(kMagic));
  header.varint(kCompressedVersion);
  header.varint(kArithmeticVersion);
  header.fixed(arithmetic_number(options.arithmetic), 1);
  header.varint(static_cast<std::uint64_t>(window));
  header.raw(model.id);
  P5_OK(emit(header.bytes()));

  Progress progress("compressing", total, "bytes");
  Sha256 hash;  // of the header and the whole original
  hash.update(header.bytes());
  std::vector<std::byte> buffer(kBlockBytes);
  while (true) {
    if (cancelled()) return interrupted();
    P5_TRY(const std::size_t count, read_full(read, buffer));
    if (count == 0) break;
    const std::span<const std::byte> raw(buffer.data(), count);
    hash.update(raw);
    P5_TRY(PlainBlock plain, best_plain(raw));
    std::optional<BlockCoder::Coded> coded;
    if (plain.bytes.size() * kPlainIsEnough > raw.size()) {
      P5_TRY(coded, coder->encode(raw));
    }
    const bool by_model = coded && coded->bytes.size() < plain.bytes.size();
    const std::vector<std::byte>& chosen = by_model ? coded->bytes : plain.bytes;
    ByteWriter block;
    block.varint(raw.size());
    block.fixed(by_model ? kModelMethod : static_cast<std::uint8_t>(plain.codec), 1);
    block.varint(chosen.size());
    block.raw(chosen);
    block.fixed(block_checksum(raw, chosen), 4);
    P5_OK(emit(block.bytes()));
    summary.input_bytes += raw.size();
    if (by_model) {
      ++summary.model_blocks;
      summary.tokens += coded->tokens;
      summary.payload_bytes += coded->payload;
      summary.changes_bytes += coded->changes;
    } else {
      ++summary.plain_blocks;
      summary.plain_bytes += chosen.size();
    }
    progress.update(summary.input_bytes);
  }
  ByteWriter end;
  end.varint(0);
  end.fixed(short_hash(hash), 8);
  P5_OK(emit(end.bytes()));
  return summary;
}

Result<FileCoderSummary> decompress_file(const CodingModel& model, const Tokenizer& tokenizer,
                                         const FileCoderOptions& options, const std::string& path,
                                         const ReadBytes& read, const WriteBytes& write, std::uint64_t total) {
  StreamReader in(read, path);
  const auto magic = in.bytes(kMagic.size());
  if (!magic || text_of(*magic) != kMagic)
    return bad_data("'" + path + "' is not a file that par5 compressed: it does not start with \"p5cz\"", path, 0);
  const auto unknown = [&](const std::string& what, int known) {
    return bad_data("'" + path + "' needs " + what + ", which this par5 does not know (it has version " +
                        std::to_string(known) + ")",
                    path);
  };
  P5_TRY(const std::uint64_t version, in.varint());
  if (version != kCompressedVersion)
    return unknown("version " + std::to_string(version) + " of compressed files", kCompressedVersion);
  P5_TRY(const std::uint64_t arithmetic_version, in.varint());
  if (arithmetic_version != kArithmeticVersion)
    return unknown("version " + std::to_string(arithmetic_version) + " of the exact arithmetic", kArithmeticVersion);
  P5_TRY(const std::uint64_t number, in.fixed(1));
  P5_TRY(const std::uint64_t window, in.varint());
  const auto arithmetic = arithmetic_from_number(number);
  if (!arithmetic || window < 1 || window > static_cast<std::uint64_t>(kLongestWindow))
    return in.error("its header names no arithmetic or window that there is");
  P5_TRY(const auto id, in.bytes(model.id.size()));
  if (!std::equal(id.begin(), id.end(), model.id.begin()))
    return bad_data("'" + path + "' was compressed with another artifact (SHA-256 " + hex(id) + "…) than this one (" +
                        hex(model.id) + "…)",
                    path);
  P5_TRY(const std::unique_ptr<BlockCoder> coder,
         BlockCoder::create(model, tokenizer, *arithmetic, static_cast<std::int64_t>(window), options));
  FileCoderSummary summary;
  summary.kernel = coder->kernel();
  summary.arithmetic = arithmetic_name(*arithmetic);

  Progress progress("decompressing", total, "bytes");
  Sha256 hash;
  hash.update(in.taken());
  for (std::uint64_t block = 1;; ++block) {
    if (cancelled()) return interrupted();
    P5_TRY(const std::uint64_t raw_bytes, in.varint());
    if (raw_bytes == 0) break;
    P5_TRY(const std::uint64_t method, in.fixed(1));
    P5_TRY(const std::uint64_t stored_bytes, in.varint());
    if (raw_bytes > kBlockBytes || stored_bytes > raw_bytes + 64 || !is_method(method))
      return in.error("block " + std::to_string(block) + " has an impossible size or method");
    P5_TRY(const auto stored, in.bytes(stored_bytes));
    P5_TRY(const std::uint64_t checksum, in.fixed(4));
    std::string raw;
    Status decoded;
    if (method == kModelMethod) {
      auto text = coder->decode(stored, raw_bytes);
      if (text)
        raw = std::move(*text);
      else if (text.error().code != ErrorCode::bad_data)
        return tl::unexpected(text.error());
      else
        decoded = tl::unexpected(text.error());
      ++summary.model_blocks;
    } else {
      raw.resize(static_cast<std::size_t>(raw_bytes));
      decoded =
          decompress(static_cast<Codec>(method), stored, std::as_writable_bytes(std::span(raw.data(), raw.size())));
      ++summary.plain_blocks;
    }
    if (!decoded) return in.error("block " + std::to_string(block) + ": " + decoded.error().message);
    if (raw.size() != raw_bytes || block_checksum(as_bytes(raw), stored) != checksum)
      return in.error("block " + std::to_string(block) + " does not decode to what was compressed");
    hash.update(raw);
    P5_OK(write(as_bytes(raw)));
    summary.output_bytes += raw.size();
    progress.update(in.offset());
  }
  P5_TRY(const std::uint64_t expected, in.fixed(8));
  if (short_hash(hash) != expected) return in.error("the whole has another hash than what was compressed");
  std::byte extra{};
  P5_TRY(const std::size_t more, read({&extra, 1}));
  if (more != 0) return in.error("bytes follow its end");
  summary.input_bytes = in.offset();
  return summary;
}

}  // namespace par5
