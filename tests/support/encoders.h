// The other direction of budgets/foreign/decode.h, for tests: what wrappers of the field are made with.
#pragma once

#include <brotli/encode.h>
#include <lzma.h>
#include <zlib.h>

#include <cstdint>
#include <string>
#include <string_view>

namespace par5::test {

inline const std::uint8_t* unsigned_bytes(std::string_view bytes) {
  return reinterpret_cast<const std::uint8_t*>(bytes.data());
}

inline std::string zlib_bytes(std::string_view bytes) {
  std::string out(compressBound(static_cast<uLong>(bytes.size())), '\0');
  uLongf size = static_cast<uLongf>(out.size());
  compress2(reinterpret_cast<Bytef*>(out.data()), &size, unsigned_bytes(bytes), static_cast<uLong>(bytes.size()), 9);
  out.resize(size);
  return out;
}

inline std::string xz_bytes(std::string_view bytes, unsigned preset = 9) {
  std::string out(lzma_stream_buffer_bound(bytes.size()), '\0');
  std::size_t size = 0;
  if (lzma_easy_buffer_encode(preset, LZMA_CHECK_CRC64, nullptr, unsigned_bytes(bytes), bytes.size(),
                              reinterpret_cast<std::uint8_t*>(out.data()), &size, out.size()) != LZMA_OK)
    return {};
  out.resize(size);
  return out;
}

// Python's lzma.compress(…, format=FORMAT_RAW, filters=[{"id": FILTER_LZMA2}]).
inline std::string raw_lzma2_bytes(std::string_view bytes) {
  lzma_options_lzma options{};
  lzma_lzma_preset(&options, LZMA_PRESET_DEFAULT);
  const lzma_filter filters[] = {{LZMA_FILTER_LZMA2, &options}, {LZMA_VLI_UNKNOWN, nullptr}};
  std::string out(bytes.size() + 1024, '\0');
  std::size_t size = 0;
  if (lzma_raw_buffer_encode(filters, nullptr, unsigned_bytes(bytes), bytes.size(),
                             reinterpret_cast<std::uint8_t*>(out.data()), &size, out.size()) != LZMA_OK)
    return {};
  out.resize(size);
  return out;
}

inline std::string brotli_bytes(std::string_view bytes) {
  std::size_t size = BrotliEncoderMaxCompressedSize(bytes.size());
  std::string out(size, '\0');
  BrotliEncoderCompress(11, 22, BROTLI_MODE_GENERIC, bytes.size(), unsigned_bytes(bytes), &size,
                        reinterpret_cast<std::uint8_t*>(out.data()));
  out.resize(size);
  return out;
}

inline std::string base64_text(std::string_view bytes) {
  constexpr char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    std::uint32_t value = 0;
    const std::size_t count = std::min<std::size_t>(3, bytes.size() - i);
    for (std::size_t k = 0; k < 3; ++k)
      value = value << 8 | (k < count ? static_cast<unsigned char>(bytes[i + k]) : 0u);
    for (std::size_t k = 0; k < 4; ++k) out += k <= count ? letters[value >> (18 - 6 * k) & 63] : '=';
  }
  return out;
}

inline std::string base85_text(std::string_view bytes, const char* letters) {
  std::string out;
  for (std::size_t i = 0; i < bytes.size(); i += 4) {
    std::uint32_t value = 0;
    const std::size_t count = std::min<std::size_t>(4, bytes.size() - i);
    for (std::size_t k = 0; k < 4; ++k)
      value = value << 8 | (k < count ? static_cast<unsigned char>(bytes[i + k]) : 0u);
    char group[5];
    for (std::size_t k = 5; k-- > 0; value /= 85) group[k] = letters[value % 85];
    out.append(group, count + 1);
  }
  return out;
}
inline std::string b85_text(std::string_view bytes) {
  return base85_text(bytes, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;<=>?@^_`{|}~");
}
inline std::string a85_text(std::string_view bytes) {
  return base85_text(bytes, "!\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdefghijklmnopqrstu");
}

}  // namespace par5::test
