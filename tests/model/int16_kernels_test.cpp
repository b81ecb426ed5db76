// Products in 16-bit integers against double ones: exact where nothing is rounded, near where something is, and the
// same bits from the portable and the AVX-512 form.
#include "model/int16_kernels.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "model/integer_kernels.h"
#include "model/word_transpose.h"

namespace par5::kernels {
namespace {

struct Rounded {
  Rounded(const std::vector<float>& x, std::size_t count, std::size_t inner, const float* factors = nullptr)
      : codes(count * ((inner + 1) / 2 * 2)), scales(count), rows{count, inner, codes.data(), scales.data()} {
    quantize_int16_rows(x.data(), factors, rows);
  }
  std::vector<std::int16_t> codes;
  std::vector<float> scales;
  Int16Rows rows;
};

std::vector<float> normal(std::size_t count, std::uint32_t seed) {
  std::mt19937 engine(seed);
  std::normal_distribution<float> draw;
  std::vector<float> values(count);
  for (float& value : values) value = draw(engine);
  return values;
}
// Whole numbers to ±2896, with the largest in every row.
std::vector<float> whole(std::size_t rows, std::size_t inner, std::uint32_t seed) {
  std::mt19937 engine(seed);
  std::vector<float> values(rows * inner);
  for (float& value : values) value = static_cast<float>(static_cast<int>(engine() % 5793) - 2896);
  for (std::size_t r = 0; r < rows; ++r) values[r * inner] = 2896;
  return values;
}

enum class Packing { transposed, as_it_stands };
// factor · A·Bᵀ or factor · A·B, plus 1 in every entry.
std::vector<float> product(const std::vector<float>& a, const std::vector<float>& b, std::size_t rows,
                           std::size_t inner, std::size_t columns, Packing packing, bool lower = false) {
  const bool transposed = packing == Packing::transposed;
  const Rounded right(b, transposed ? columns : inner, transposed ? inner : columns);
  const Rounded left(a, rows, inner, transposed ? nullptr : right.scales.data());
  std::vector<std::int16_t> codes(Int16Panels{inner, columns}.size());
  const Int16Panels packed =
      transposed ? pack_int16_transposed(right.rows, codes.data()) : pack_int16(right.rows, codes.data());
  const std::vector<float> base(rows * columns, 2.0f);
  std::vector<float> out(rows * columns, 9.0f);
  int16_product(left.rows, packed, 0.5f, lower, base.data(), 0.5f, out.data());
  return out;
}
std::vector<double> reference(const std::vector<float>& a, const std::vector<float>& b, std::size_t rows,
                              std::size_t inner, std::size_t columns, Packing packing) {
  std::vector<double> out(rows * columns, 1.0);
  for (std::size_t r = 0; r < rows; ++r)
    for (std::size_t c = 0; c < columns; ++c)
      for (std::size_t k = 0; k < inner; ++k)
        out[r * columns + c] +=
            0.5 * a[r * inner + k] * b[packing == Packing::transposed ? c * inner + k : k * columns + c];
  return out;
}

struct Size {
  std::size_t rows, inner, columns;
};
const Size kSizes[] = {{1, 1, 1}, {5, 7, 3}, {6, 2, 64}, {37, 45, 70}, {64, 257, 130}, {19, 770, 17}, {128, 300, 65}};

TEST(Int16Product, IsExactForWholeNumbers) {
  for (const Size& size : kSizes) {
    const std::vector<float> a = whole(size.rows, size.inner, 1), b = whole(size.columns, size.inner, 2);
    const std::vector<float> ours = product(a, b, size.rows, size.inner, size.columns, Packing::transposed);
    const std::vector<double> exact = reference(a, b, size.rows, size.inner, size.columns, Packing::transposed);
    // Only the sums' rounding to float32 is left.
    for (std::size_t i = 0; i < ours.size(); ++i)
      ASSERT_NEAR(ours[i], exact[i], 1e-6 * 2896.0 * 2896.0 * static_cast<double>(size.inner)) << i;
  }
}

TEST(Int16Product, IsNearForAnyNumbers) {
  for (const Size& size : kSizes)
    for (const Packing packing : {Packing::transposed, Packing::as_it_stands}) {
      const std::vector<float> a = normal(size.rows * size.inner, 3), b = normal(size.columns * size.inner, 4);
      const std::vector<float> ours = product(a, b, size.rows, size.inner, size.columns, packing);
      const std::vector<double> exact = reference(a, b, size.rows, size.inner, size.columns, packing);
      double error = 0, total = 0;
      for (std::size_t i = 0; i < ours.size(); ++i) {
        error += (ours[i] - exact[i]) * (ours[i] - exact[i]);
        total += (exact[i] - 1) * (exact[i] - 1);
      }
      EXPECT_LT(std::sqrt(error), 1e-3 * std::sqrt(total)) << size.rows << "x" << size.inner << "x" << size.columns;
    }
}

TEST(Int16Product, PortableAndFastFormsGiveTheSameBits) {
  if (!has_fast_integer_products()) GTEST_SKIP() << "no AVX-512 VNNI here";
  for (const Size& size : kSizes)
    for (const Packing packing : {Packing::transposed, Packing::as_it_stands}) {
      std::vector<float> a = normal(size.rows * size.inner, 5);
      std::fill_n(a.begin(), size.inner, 0.0f);  // a row without a scale
      const std::vector<float> b = normal(size.columns * size.inner, 6);
      const std::vector<float> fast = product(a, b, size.rows, size.inner, size.columns, packing);
      force_portable_integer_products(true);
      const std::vector<float> portable = product(a, b, size.rows, size.inner, size.columns, packing);
      force_portable_integer_products(false);
      EXPECT_EQ(std::memcmp(fast.data(), portable.data(), fast.size() * sizeof(float)), 0);
    }
}

TEST(Int16Product, LowerHalfAndItsMirrorAreTheWholeOfASymmetricProduct) {
  for (const bool portable : {true, false})
    for (const std::size_t rows : {1, 15, 16, 33, 64, 131, 200}) {
      force_portable_integer_products(portable);
      const std::vector<float> a = normal(rows * 40, 7);
      const std::vector<float> whole_product = product(a, a, rows, 40, rows, Packing::transposed);
      std::vector<float> half = product(a, a, rows, 40, rows, Packing::transposed, /*lower=*/true);
      mirror_lower(half.data(), rows);
      EXPECT_EQ(half, whole_product) << rows;
      force_portable_integer_products(false);
    }
}

TEST(Int16Product, ARowThatIsNotFiniteGivesNoFiniteRow) {
  std::vector<float> a = normal(3 * 20, 8);
  const std::vector<float> b = normal(4 * 20, 9);
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    a[25] = bad;
    const std::vector<float> out = product(a, b, 3, 20, 4, Packing::transposed);
    for (std::size_t i = 0; i < out.size(); ++i) EXPECT_EQ(std::isfinite(out[i]), i / 4 != 1) << i;
  }
}

}  // namespace
}  // namespace par5::kernels
