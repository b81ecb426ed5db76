#define ZSTD_STATIC_LINKING_ONLY  // magicless frames
#include <brotli/decode.h>
#include <lzma.h>
#include <zstd.h>

#include "parts.h"

namespace reference {
namespace {

Bytes decode_filter(lzma_vli filter, lzma_options_lzma& options, const Bytes& input, std::size_t size) {
  options.dict_size = static_cast<std::uint32_t>(size < 4096 ? 4096 : size);
  lzma_set_ext_size(options, size);
  const lzma_filter filters[] = {{filter, &options}, {LZMA_VLI_UNKNOWN, nullptr}};
  Bytes out(size);
  std::size_t read = 0, written = 0;
  require(lzma_raw_buffer_decode(filters, nullptr, input.data(), &read, input.size(), out.data(), &written, size) ==
                  LZMA_OK &&
              read == input.size() && written == size,
          "malformed LZMA stream");
  return out;
}

Bytes decode_lzma(Bytes stored, std::size_t size) {
  require(!stored.empty(), "empty LZMA stream");
  lzma_options_lzma options{};
  options.lc = stored[0] % 9u;
  options.lp = stored[0] / 9u % 5u;
  options.pb = stored[0] / 45u;
  require(options.lc + options.lp <= 4 && options.pb <= 4, "LZMA properties");
  stored[0] = 0;
  return decode_filter(LZMA_FILTER_LZMA1EXT, options, stored, size);
}

Bytes decode_lzma2(Bytes stored, std::size_t size) {
  stored.push_back(0);
  lzma_options_lzma options{};
  return decode_filter(LZMA_FILTER_LZMA2, options, stored, size);
}

Bytes decode_zstd(const Bytes& stored, std::size_t size) {
  Bytes out(size);
  ZSTD_DCtx* context = ZSTD_createDCtx();
  ZSTD_DCtx_setParameter(context, ZSTD_d_format, ZSTD_f_zstd1_magicless);
  const std::size_t written = ZSTD_decompressDCtx(context, out.data(), size, stored.data(), stored.size());
  ZSTD_freeDCtx(context);
  require(written == size, "malformed zstd stream");
  return out;
}

Bytes decode_brotli(const Bytes& stored, std::size_t size) {
  Bytes out(size);
  std::size_t written = size;
  require(
      BrotliDecoderDecompress(stored.size(), stored.data(), &written, out.data()) == BROTLI_DECODER_RESULT_SUCCESS &&
          written == size,
      "malformed brotli stream");
  return out;
}

}  // namespace

Bytes decode_codec(int codec, const Bytes& stored, std::size_t size) {
  switch (codec) {
    case 0:
      return stored;
    case 1:
      return decode_lzma(stored, size);
    case 2:
      return decode_zstd(stored, size);
    case 3:
      return decode_brotli(stored, size);
    case 5:
      return decode_lzma2(stored, size);
    default:
      refuse("a stream of the external program lrzip, which this decoder does not run");
  }
}

}  // namespace reference
