#include "pack/packing.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "core/half.h"
#include "pack/quantizer.h"

namespace par5 {
namespace {

using testing::HasSubstr;
using Bytes = std::vector<std::uint8_t>;

constexpr Grid kGrids[] = {Grid::binary, Grid::ternary, Grid::quinary, Grid::septenary, Grid::int4,
                           Grid::int5,   Grid::int6,    Grid::int7,    Grid::int8};
const Shape kShapes[] = {{1, 1}, {1, 7}, {7, 1}, {3, 5}, {8, 8}, {65, 67}, {130, 64}, {0, 5}, {5, 0}};

std::vector<std::int8_t> random_codes(Grid grid, const Shape& shape, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<std::int8_t> codes(static_cast<std::size_t>(element_count(shape)));
  for (std::int8_t& code : codes) {
    const auto draw = static_cast<int>(random() % static_cast<unsigned>(level_count(grid)));
    code = static_cast<std::int8_t>(grid == Grid::binary ? 2 * draw - 1 : draw - max_code(grid));
  }
  return codes;
}

TEST(Packing, EveryLayoutOfEveryGridRoundTrips) {
  for (const Grid grid : kGrids)
    for (const Layout layout : layouts_for(grid))
      for (const Shape& shape : kShapes) {
        SCOPED_TRACE(std::string(grid_name(grid)) + " " + std::string(layout_name(layout)) + " " + to_string(shape));
        const auto codes = random_codes(grid, shape, 17);
        const auto bytes = pack_codes(layout, grid, shape, codes);
        ASSERT_TRUE(bytes) << to_string(bytes.error());
        EXPECT_LE(bytes->size(), max_packed_bytes(layout, grid, codes.size()));
        const auto back = unpack_codes(layout, grid, shape, *bytes);
        ASSERT_TRUE(back) << to_string(back.error());
        EXPECT_EQ(*back, codes);
      }
}

TEST(Packing, BytesAreAsDocumented) {
  const Shape shape = {2, 3};
  const std::vector<std::int8_t> quinary = {-2, -1, 0, 1, 2, 0};
  EXPECT_EQ(pack_codes(Layout::base5, Grid::quinary, shape, quinary), (Bytes{0 + 5 * 1 + 25 * 2, 3 + 5 * 4 + 25 * 2}));
  EXPECT_EQ(pack_codes(Layout::base5_t, Grid::quinary, shape, quinary),
            (Bytes{0 + 5 * 3 + 25 * 1, 4 + 5 * 2 + 25 * 2}));
  EXPECT_EQ(pack_codes(Layout::bytes_t, Grid::quinary, shape, quinary), (Bytes{0, 3, 1, 4, 2, 2}));
  // Not zero: 1 1 0 1 1 0; positive: 0 0 1 1; magnitude above 1: 1 0 0 1.
  EXPECT_EQ(pack_codes(Layout::planes, Grid::quinary, shape, quinary), (Bytes{0b011011, 0b1100, 0b1001}));
  EXPECT_EQ(pack_codes(Layout::base3, Grid::ternary, {1, 6}, std::vector<std::int8_t>{-1, 0, 1, 1, 1, 1}),
            (Bytes{0 + 3 * 1 + 9 * 2 + 27 * 2 + 81 * 2, 2}));
  EXPECT_EQ(pack_codes(Layout::planes, Grid::binary, {1, 9}, std::vector<std::int8_t>{1, -1, 1, 1, -1, -1, -1, -1, 1}),
            (Bytes{0b00001101, 1}));
  // Septenary: not zero, positive, above 1 of all four, above 2 of the last three.
  EXPECT_EQ(pack_codes(Layout::planes, Grid::septenary, {1, 5}, std::vector<std::int8_t>{0, 1, -2, 3, -3}),
            (Bytes{0b11110, 0b0101, 0b1110, 0b110}));
  // int4: symbols 0, 14, 7; planes from the highest of 4 bits.
  EXPECT_EQ(pack_codes(Layout::planes, Grid::int4, {1, 3}, std::vector<std::int8_t>{-7, 7, 0}),
            (Bytes{0b010, 0b110, 0b110, 0b100}));
}

TEST(Packing, EveryByteOfBase5AndBase3IsReadOrRefused) {
  for (unsigned byte = 0; byte < 256; ++byte) {
    const Bytes one = {static_cast<std::uint8_t>(byte)};
    EXPECT_EQ(unpack_codes(Layout::base5, Grid::quinary, {1, 3}, one).has_value(), byte < 125);
    EXPECT_EQ(unpack_codes(Layout::base5, Grid::quinary, {1, 1}, one).has_value(), byte < 5);
    EXPECT_EQ(unpack_codes(Layout::base3, Grid::ternary, {1, 5}, one).has_value(), byte < 243);
    EXPECT_EQ(unpack_codes(Layout::base3, Grid::ternary, {2, 2}, one).has_value(), byte < 81);
  }
  const auto refused = unpack_codes(Layout::base5, Grid::quinary, {1, 6}, Bytes{7, 125});
  EXPECT_EQ(refused.error().code, ErrorCode::bad_data);
  EXPECT_EQ(refused.error().offset, 1u);
  EXPECT_EQ(refused.error().message, "byte 1 of a base5 stream is 125, more than its 3 symbols can make");
}

// Random and mutated bytes: either an error, or codes of the grid that pack to exactly the same bytes.
TEST(Packing, HostileBytesAreRefusedOrCanonical) {
  std::mt19937 random(7);
  for (const Grid grid : kGrids)
    for (const Layout layout : layouts_for(grid))
      for (int trial = 0; trial < 400; ++trial) {
        const Shape shape = {static_cast<std::int64_t>(random() % 6), static_cast<std::int64_t>(random() % 9)};
        Bytes bytes;
        if (trial % 2) {
          bytes = pack_codes(layout, grid, shape, random_codes(grid, shape, static_cast<unsigned>(trial))).value();
          if (!bytes.empty() && trial % 4 == 1)
            bytes[random() % bytes.size()] ^= static_cast<std::uint8_t>(1u << random() % 8);
          if (trial % 4 == 3) bytes.resize(random() % (bytes.size() + 2));
        } else {
          bytes.resize(random() % 60);
          for (std::uint8_t& byte : bytes) byte = static_cast<std::uint8_t>(random());
        }
        const auto codes = unpack_codes(layout, grid, shape, bytes);
        if (!codes) {
          EXPECT_EQ(codes.error().code, ErrorCode::bad_data);
          EXPECT_FALSE(codes.error().message.empty());
          continue;
        }
        EXPECT_EQ(pack_codes(layout, grid, shape, *codes), bytes) << grid_name(grid) << " " << layout_name(layout);
      }
}

TEST(Packing, HugeShapesAreRefusedBeforeAnythingIsAllocated) {
  const Bytes bytes(100, 0);
  for (const Grid grid : kGrids)
    for (const Layout layout : layouts_for(grid))
      for (const Shape& shape : {Shape{std::int64_t{1} << 20, std::int64_t{1} << 20}, Shape{std::int64_t{1} << 62, 4},
                                 Shape{-1, 5}, Shape{std::int64_t{1} << 40, 0}, Shape{4}}) {
        const auto codes = unpack_codes(layout, grid, shape, bytes);
        ASSERT_FALSE(codes);
        EXPECT_EQ(codes.error().code, ErrorCode::bad_data);
      }
}

TEST(Packing, LayoutsThatDoNotServeAreRefused) {
  const Bytes bytes = {0};
  const std::vector<std::int8_t> codes = {1};
  EXPECT_EQ(unpack_codes(Layout::base3, Grid::quinary, {1, 1}, bytes).error().code, ErrorCode::bad_data);
  EXPECT_EQ(pack_codes(Layout::base5, Grid::ternary, {1, 1}, codes).error().code, ErrorCode::internal);
  EXPECT_EQ(pack_codes(Layout::bytes, Grid::ternary, {1, 2}, codes).error().code, ErrorCode::internal);
  EXPECT_EQ(pack_codes(Layout::bytes, Grid::ternary, {1, 1}, std::vector<std::int8_t>{2}).error().code,
            ErrorCode::internal);
  EXPECT_EQ(pack_codes(Layout::bytes, Grid::binary, {1, 1}, std::vector<std::int8_t>{0}).error().code,
            ErrorCode::internal);
  EXPECT_EQ(unpack_codes(Layout::split, Grid::int8, {1, 1}, bytes).error().code, ErrorCode::bad_data);
  EXPECT_EQ(unpack_fp8(Layout::bytes_t, {1}, bytes).error().code, ErrorCode::bad_data);
  EXPECT_EQ(unpack_deltas(Layout::base5, 5, {1, 1}, bytes).error().code, ErrorCode::bad_data);
}

TEST(Packing, ScaleDeltasRoundTripInEveryWidth) {
  std::mt19937 random(3);
  for (const int bits : {4, 5, 6, 8})
    for (const Layout layout : layouts_for_deltas())
      for (const Shape& shape : kShapes) {
        std::vector<std::int8_t> deltas(static_cast<std::size_t>(element_count(shape)));
        for (std::int8_t& delta : deltas)
          delta = static_cast<std::int8_t>(static_cast<int>(random() % (1u << bits)) - (1 << (bits - 1)));
        const auto bytes = pack_deltas(layout, bits, shape, deltas);
        ASSERT_TRUE(bytes);
        EXPECT_EQ(unpack_deltas(layout, bits, shape, *bytes), deltas);
      }
  EXPECT_FALSE(unpack_deltas(Layout::bytes, 5, {1, 1}, Bytes{32}));
  EXPECT_FALSE(pack_deltas(Layout::bytes, 5, {1, 1}, std::vector<std::int8_t>{16}));
}

TEST(Packing, FloatsRoundTripInEveryLayoutAndRefuseWhatIsNotFinite) {
  std::mt19937 random(5);
  for (const Shape& shape : {Shape{}, Shape{13}, Shape{3, 70}, Shape{2, 3, 4}}) {
    const auto count = static_cast<std::size_t>(element_count(shape));
    Bytes fp8(count);
    std::vector<std::uint16_t> fp16(count);
    for (std::size_t i = 0; i < count; ++i) {
      fp8[i] = e4m3_from_float(static_cast<float>(random() % 1000) / 7);
      fp16[i] = half_from_float(static_cast<float>(random() % 100000) / -3000);
    }
    for (const Layout layout : layouts_for(Storage::fp8, shape)) {
      const auto bytes = pack_fp8(layout, shape, fp8);
      ASSERT_TRUE(bytes);
      EXPECT_EQ(unpack_fp8(layout, shape, *bytes), fp8);
      EXPECT_FALSE(unpack_fp8(layout, shape, Bytes(count + 1, 0)));
      EXPECT_FALSE(unpack_fp8(layout, shape, Bytes(count, 0xff)));
    }
    for (const Layout layout : layouts_for(Storage::fp16, shape)) {
      const auto bytes = pack_fp16(layout, shape, fp16);
      ASSERT_TRUE(bytes);
      EXPECT_EQ(unpack_fp16(layout, shape, *bytes), fp16);
      EXPECT_FALSE(unpack_fp16(layout, shape, Bytes(2 * count - 1, 0)));
      EXPECT_FALSE(unpack_fp16(layout, shape, Bytes(2 * count, 0x7c)));
    }
    EXPECT_EQ(layouts_for(Storage::fp16, shape).size(), shape.size() == 2 ? 4u : 2u);
  }
  EXPECT_EQ(pack_fp16(Layout::split_t, {2, 2}, std::vector<std::uint16_t>{0x0102, 0x0304, 0x0506, 0x0708}),
            (Bytes{2, 6, 4, 8, 1, 5, 3, 7}));
}

TEST(Packing, NamesAndNumbersOfLayoutsAreOneToOne) {
  for (unsigned number = 0; number < 10; ++number) {
    const auto layout = layout_from_number(static_cast<std::uint8_t>(number));
    ASSERT_TRUE(layout);
    EXPECT_EQ(layout_from_name(layout_name(*layout)), *layout);
  }
  EXPECT_FALSE(layout_from_number(10));
  EXPECT_FALSE(layout_from_name("base6"));
  EXPECT_EQ(layout_name(Layout::base5_t), "base5_t");
}

}  // namespace
}  // namespace par5
