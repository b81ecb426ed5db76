// zstd frames in the "magicless" format: no magic, no checksum, no dictionary id.
#define ZSTD_STATIC_LINKING_ONLY  // for ZSTD_f_zstd1_magicless
#include <zstd.h>

#include <memory>

#include "archive/codec.h"

namespace par5::codec_detail {
namespace {

struct Free {
  void operator()(ZSTD_CCtx* context) const { ZSTD_freeCCtx(context); }
  void operator()(ZSTD_DCtx* context) const { ZSTD_freeDCtx(context); }
};

}  // namespace

Result<std::vector<std::byte>> compress_zstd(std::span<const std::byte> raw, int level) {
  const std::unique_ptr<ZSTD_CCtx, Free> context(ZSTD_createCCtx());
  if (!context) return resource_limit("zstd cannot start its encoder");
  for (const auto& [parameter, value] :
       {std::pair{ZSTD_c_compressionLevel, level}, std::pair{ZSTD_c_format, static_cast<int>(ZSTD_f_zstd1_magicless)},
        std::pair{ZSTD_c_checksumFlag, 0}, std::pair{ZSTD_c_contentSizeFlag, 1}})
    if (ZSTD_isError(ZSTD_CCtx_setParameter(context.get(), parameter, value)))
      return internal_error("zstd refuses its parameters");
  std::vector<std::byte> stored(ZSTD_compressBound(raw.size()));
  const std::size_t size = ZSTD_compress2(context.get(), stored.data(), stored.size(), raw.data(), raw.size());
  if (ZSTD_isError(size)) return internal_error(std::string("zstd failed: ") + ZSTD_getErrorName(size));
  stored.resize(size);
  return stored;
}

// One call into a buffer of the known size: zstd then needs no window of its own, whatever the frame claims.
Status decompress_zstd(std::span<const std::byte> stored, std::span<std::byte> out) {
  const std::unique_ptr<ZSTD_DCtx, Free> context(ZSTD_createDCtx());
  if (!context) return resource_limit("zstd cannot start its decoder");
  if (ZSTD_isError(ZSTD_DCtx_setParameter(context.get(), ZSTD_d_format, ZSTD_f_zstd1_magicless)))
    return internal_error("zstd refuses its parameters");
  const std::size_t size = ZSTD_decompressDCtx(context.get(), out.data(), out.size(), stored.data(), stored.size());
  if (ZSTD_isError(size)) return bad_data(std::string("a zstd stream is malformed: ") + ZSTD_getErrorName(size));
  if (size != out.size()) return bad_data("a zstd stream decodes to fewer bytes than belong there");
  return {};
}

std::string zstd_version() { return ZSTD_versionString(); }

}  // namespace par5::codec_detail
