// What lies under the container: byte codecs and layouts, each with sizes that the input chooses.
#include <array>

#include "archive/codec.h"
#include "archive/tokenizer_stream.h"
#include "pack/packing.h"
#include "tests/fuzz/target.h"

namespace par5 {
namespace {

// What unpacks packs again to the same bytes: no two streams mean the same codes.
template <class Codes, class Pack>
void expect_same(const Result<std::vector<Codes>>& codes, std::span<const std::uint8_t> bytes, Pack pack) {
  if (!codes) return;
  const auto again = pack(*codes);
  fuzz::require(again && std::equal(again->begin(), again->end(), bytes.begin(), bytes.end()));
}

void run(std::span<const std::byte> bytes) {
  fuzz::Input input(bytes);
  const unsigned kind = input.below(9);
  if (kind < 3 || kind == 8) {
    const Codec codec = kind == 8 ? Codec::lzma2 : std::array{Codec::lzma, Codec::zstd, Codec::brotli}[kind];
    const unsigned low = input.byte(), high = input.byte();
    std::vector<std::byte> out(low + 256 * high);
    (void)decompress(codec, input.rest(), out);
    return;
  }
  if (kind == 3) {
    ByteReader in(input.rest(), {}, 0, "the tokenizer");
    const auto tokenizer = read_tokenizer(in);
    if (tokenizer) (void)write_tokenizer(*tokenizer);
    return;
  }
  const Layout layout = static_cast<Layout>(input.below(10));
  const unsigned choice = input.byte(), rows = input.byte(), columns = input.byte();
  const Shape shape{rows, columns};
  const std::span<const std::uint8_t> raw(reinterpret_cast<const std::uint8_t*>(input.rest().data()),
                                          input.rest().size());
  if (kind == 4) {
    const Grid grid = static_cast<Grid>(choice % 9);
    expect_same(unpack_codes(layout, grid, shape, raw), raw,
                [&](const auto& codes) { return pack_codes(layout, grid, shape, codes); });
  } else if (kind == 5) {
    const int bits = std::array{4, 5, 6, 8}[choice % 4];
    expect_same(unpack_deltas(layout, bits, shape, raw), raw,
                [&](const auto& deltas) { return pack_deltas(layout, bits, shape, deltas); });
  } else if (kind == 6) {
    expect_same(unpack_fp8(layout, shape, raw), raw, [&](const auto& codes) { return pack_fp8(layout, shape, codes); });
  } else {
    expect_same(unpack_fp16(layout, shape, raw), raw,
                [&](const auto& codes) { return pack_fp16(layout, shape, codes); });
  }
}

}  // namespace
}  // namespace par5

PAR5_FUZZ_TARGET(streams) { par5::run(bytes); }
