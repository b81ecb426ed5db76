// The codecs and text encodings in which scripts and archives of the field wrap their bytes. Every decoder has a bound
// on what it may give: a blob that would expand beyond it is a resource_limit error, whatever its header claims.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "core/error.h"

namespace par5 {

// Ample for any source or archive under a 16 MB cap; a bomb is refused when it reaches it.
inline constexpr std::uint64_t kMostDecodedBytes = std::uint64_t{1} << 28;

enum class DeflateForm { zlib, gzip, raw };
Result<std::string> decode_deflate(std::string_view bytes, DeflateForm form, std::uint64_t most = kMostDecodedBytes);

// A raw LZMA filter, as Python's format=FORMAT_RAW needs it.
struct RawLzma {
  bool lzma2 = true;
  std::uint32_t dictionary = std::uint32_t{1} << 26;
  std::uint32_t lc = 3, lp = 0, pb = 2;  // LZMA1 only; LZMA2 carries them
};
// .xz and .lzma by their headers, or a raw filter. Decoder memory is bounded to 256 MiB.
Result<std::string> decode_lzma(std::string_view bytes, const std::optional<RawLzma>& raw = std::nullopt,
                                std::uint64_t most = kMostDecodedBytes);
Result<std::string> decode_brotli(std::string_view bytes, std::uint64_t most = kMostDecodedBytes);
Result<std::string> decode_zstd(std::string_view bytes, std::uint64_t most = kMostDecodedBytes);

// Text encodings, as Python's base64 and binascii modules define them. Blanks and line breaks are skipped where Python
// skips them; any other character outside the alphabet is bad_data with its offset.
Result<std::string> decode_base64(std::string_view text, bool url_safe = false);
Result<std::string> decode_base32(std::string_view text);
Result<std::string> decode_base85(std::string_view text);   // b85: Git's alphabet
Result<std::string> decode_ascii85(std::string_view text);  // a85: '!' to 'u', 'z'
Result<std::string> decode_hex(std::string_view text);

}  // namespace par5
