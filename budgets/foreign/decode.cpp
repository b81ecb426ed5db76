#include "budgets/foreign/decode.h"

#include <brotli/decode.h>
#include <lzma.h>
#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <array>
#include <memory>

namespace par5 {
namespace {

constexpr std::size_t kStep = std::size_t{1} << 16;

tl::unexpected<Error> too_large(const char* codec, std::uint64_t most) {
  return resource_limit(std::string("a ") + codec + " blob would expand beyond " + std::to_string(most) +
                        " bytes and is refused");
}

// Calls `more(buffer, size)`, which returns how many bytes it wrote, until it says that the stream has ended.
// State of one decoding: `ended` is set by the codec's own end, never by the input's.
struct Progressed {
  std::size_t written = 0;
  bool ended = false;
};
template <class Step>
Result<std::string> expand(const char* codec, std::uint64_t most, Step&& step) {
  std::string out, buffer(kStep, '\0');
  for (;;) {
    P5_TRY(const Progressed progressed, step(buffer.data(), buffer.size()));
    if (out.size() + progressed.written > most) return too_large(codec, most);
    out.append(buffer, 0, progressed.written);
    if (progressed.ended) return out;
    if (progressed.written == 0) return bad_data(std::string("a ") + codec + " blob ends early");
  }
}

const std::uint8_t* unsigned_bytes(std::string_view bytes) {
  return reinterpret_cast<const std::uint8_t*>(bytes.data());
}

}  // namespace

Result<std::string> decode_deflate(std::string_view bytes, DeflateForm form, std::uint64_t most) {
  z_stream stream{};
  const int window = form == DeflateForm::zlib ? 15 : form == DeflateForm::gzip ? 15 + 16 : -15;
  if (inflateInit2(&stream, window) != Z_OK) return resource_limit("zlib cannot start its decoder");
  const std::unique_ptr<z_stream, int (*)(z_stream*)> guard(&stream, inflateEnd);
  stream.next_in = const_cast<Bytef*>(unsigned_bytes(bytes));
  stream.avail_in = static_cast<uInt>(std::min<std::size_t>(bytes.size(), UINT32_MAX));
  return expand("deflate", most, [&](char* out, std::size_t size) -> Result<Progressed> {
    stream.next_out = reinterpret_cast<Bytef*>(out);
    stream.avail_out = static_cast<uInt>(size);
    const int status = inflate(&stream, Z_NO_FLUSH);
    if (status != Z_OK && status != Z_STREAM_END && status != Z_BUF_ERROR)
      return bad_data("a deflate blob is malformed", {}, stream.total_in);
    return Progressed{size - stream.avail_out, status == Z_STREAM_END};
  });
}

Result<std::string> decode_lzma(std::string_view bytes, const std::optional<RawLzma>& raw, std::uint64_t most) {
  constexpr std::uint64_t kMostMemory = std::uint64_t{1} << 28;
  lzma_stream stream = LZMA_STREAM_INIT;
  const std::unique_ptr<lzma_stream, void (*)(lzma_stream*)> guard(&stream, lzma_end);
  lzma_options_lzma options{};
  if (raw) {
    if (raw->lc + raw->lp > LZMA_LCLP_MAX || raw->pb > LZMA_PB_MAX || raw->dictionary > kMostMemory / 2)
      return bad_data("an LZMA filter has impossible properties");
    options.dict_size = std::max<std::uint32_t>(raw->dictionary, LZMA_DICT_SIZE_MIN);
    options.lc = raw->lc;
    options.lp = raw->lp;
    options.pb = raw->pb;
  }
  const lzma_filter filters[] = {{raw && !raw->lzma2 ? LZMA_FILTER_LZMA1 : LZMA_FILTER_LZMA2, &options},
                                 {LZMA_VLI_UNKNOWN, nullptr}};
  const lzma_ret started = raw ? lzma_raw_decoder(&stream, filters) : lzma_auto_decoder(&stream, kMostMemory, 0);
  if (started != LZMA_OK) return resource_limit("liblzma cannot start its decoder");
  stream.next_in = unsigned_bytes(bytes);
  stream.avail_in = bytes.size();
  return expand("LZMA", most, [&](char* out, std::size_t size) -> Result<Progressed> {
    stream.next_out = reinterpret_cast<std::uint8_t*>(out);
    stream.avail_out = size;
    const lzma_ret status = lzma_code(&stream, raw ? LZMA_RUN : LZMA_FINISH);
    if (status == LZMA_MEMLIMIT_ERROR || status == LZMA_MEM_ERROR)
      return resource_limit("an LZMA blob needs more than 256 MiB of memory to decode");
    if (status != LZMA_OK && status != LZMA_STREAM_END && status != LZMA_BUF_ERROR)
      return bad_data("an LZMA blob is malformed", {}, stream.total_in);
    // A raw LZMA1 stream of known length has no end marker: its end is the input's.
    const bool drained = raw && !raw->lzma2 && stream.avail_in == 0 && stream.avail_out > 0;
    return Progressed{size - stream.avail_out, status == LZMA_STREAM_END || drained};
  });
}

Result<std::string> decode_brotli(std::string_view bytes, std::uint64_t most) {
  const std::unique_ptr<BrotliDecoderState, void (*)(BrotliDecoderState*)> state(
      BrotliDecoderCreateInstance(nullptr, nullptr, nullptr), BrotliDecoderDestroyInstance);
  if (!state) return resource_limit("brotli cannot start its decoder");
  std::size_t remaining = bytes.size();
  const std::uint8_t* next = unsigned_bytes(bytes);
  return expand("brotli", most, [&](char* out, std::size_t size) -> Result<Progressed> {
    std::size_t room = size;
    auto* target = reinterpret_cast<std::uint8_t*>(out);
    const BrotliDecoderResult status =
        BrotliDecoderDecompressStream(state.get(), &remaining, &next, &room, &target, nullptr);
    if (status == BROTLI_DECODER_RESULT_ERROR)
      return bad_data("a brotli blob is malformed", {}, bytes.size() - remaining);
    return Progressed{size - room, status == BROTLI_DECODER_RESULT_SUCCESS};
  });
}

Result<std::string> decode_zstd(std::string_view bytes, std::uint64_t most) {
  const std::unique_ptr<ZSTD_DCtx, std::size_t (*)(ZSTD_DCtx*)> context(ZSTD_createDCtx(), ZSTD_freeDCtx);
  if (!context) return resource_limit("zstd cannot start its decoder");
  ZSTD_inBuffer input{bytes.data(), bytes.size(), 0};
  return expand("zstd", most, [&](char* out, std::size_t size) -> Result<Progressed> {
    ZSTD_outBuffer output{out, size, 0};
    const std::size_t status = ZSTD_decompressStream(context.get(), &output, &input);
    if (ZSTD_isError(status)) return bad_data("a zstd blob is malformed", {}, input.pos);
    return Progressed{output.pos, status == 0};
  });
}

// ---- text encodings

namespace {

using Alphabet = std::array<std::int8_t, 256>;

constexpr Alphabet alphabet(std::string_view letters) {
  Alphabet table{};
  for (auto& value : table) value = -1;
  for (std::size_t i = 0; i < letters.size(); ++i)
    table[static_cast<unsigned char>(letters[i])] = static_cast<std::int8_t>(i);
  return table;
}

bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\v' || c == '\f'; }

tl::unexpected<Error> stray(const char* encoding, std::size_t offset) {
  return bad_data(std::string("a ") + encoding + " text has a character outside its alphabet", {}, offset);
}

// Characters of `bits` bits each, most significant first, '=' ends.
Result<std::string> decode_bits(std::string_view text, const Alphabet& table, int bits, const char* encoding) {
  std::string out;
  std::uint32_t value = 0;
  int held = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (is_blank(text[i])) continue;
    if (text[i] == '=') break;
    const int digit = table[static_cast<unsigned char>(text[i])];
    if (digit < 0) return stray(encoding, i);
    value = value << bits | static_cast<std::uint32_t>(digit);
    held += bits;
    if (held >= 8) {
      held -= 8;
      out += static_cast<char>(value >> held & 255);
    }
  }
  return out;
}

// Groups of five characters of base 85 to four bytes, most significant first; a short last group gives one byte less
// than it has characters.
Result<std::string> decode_groups_of_five(std::string_view text, const Alphabet& table, bool has_z,
                                          const char* encoding) {
  std::string out;
  std::uint64_t value = 0;
  int held = 0;
  const auto flush = [&](int bytes) {
    for (int i = 0; i < bytes; ++i) out += static_cast<char>(value >> (8 * (3 - i)) & 255);
    value = 0;
    held = 0;
  };
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (has_z && is_blank(text[i])) continue;
    if (has_z && text[i] == 'z' && held == 0) {
      out.append(4, '\0');
      continue;
    }
    const int digit = table[static_cast<unsigned char>(text[i])];
    if (digit < 0) return stray(encoding, i);
    value = value * 85 + static_cast<std::uint64_t>(digit);
    if (++held < 5) continue;
    if (value > UINT32_MAX) return bad_data(std::string("a ") + encoding + " text has a group above 32 bits", {}, i);
    flush(4);
  }
  if (held == 1) return bad_data(std::string("a ") + encoding + " text ends with a single character");
  if (held > 1) {
    const int bytes = held - 1;
    for (; held < 5; ++held) value = value * 85 + 84;
    flush(bytes);
  }
  return out;
}

constexpr char kBase64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
constexpr char kBase64Url[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
constexpr char kBase85[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;<=>?@^_`{|}~";
constexpr char kAscii85[] = "!\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdefghijklmnopqrstu";

}  // namespace

Result<std::string> decode_base64(std::string_view text, bool url_safe) {
  static constexpr Alphabet plain = alphabet(kBase64), url = alphabet(kBase64Url);
  return decode_bits(text, url_safe ? url : plain, 6, "base64");
}

Result<std::string> decode_base32(std::string_view text) {
  static constexpr Alphabet table = alphabet("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567");
  return decode_bits(text, table, 5, "base32");
}

Result<std::string> decode_base85(std::string_view text) {
  static constexpr Alphabet table = alphabet(kBase85);
  return decode_groups_of_five(text, table, false, "base85");
}

Result<std::string> decode_ascii85(std::string_view text) {
  static constexpr Alphabet table = alphabet(kAscii85);
  if (text.starts_with("<~")) text.remove_prefix(2);
  if (text.ends_with("~>")) text.remove_suffix(2);
  return decode_groups_of_five(text, table, true, "ascii85");
}

Result<std::string> decode_hex(std::string_view text) {
  static constexpr Alphabet lower = alphabet("0123456789abcdef"), upper = alphabet("0123456789ABCDEF");
  std::string out;
  int held = -1;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (is_blank(text[i])) continue;
    const auto c = static_cast<unsigned char>(text[i]);
    const int digit = std::max(lower[c], upper[c]);
    if (digit < 0) return stray("hexadecimal", i);
    if (held < 0) {
      held = digit;
    } else {
      out += static_cast<char>(held * 16 + digit);
      held = -1;
    }
  }
  if (held >= 0) return bad_data("a hexadecimal text has an odd number of digits");
  return out;
}

}  // namespace par5
