// The engine's own functions: their errors against the C library in wider precision, and every kernel's bits.
#include "engine/elementary.h"

#include <gtest/gtest.h>

#include <bit>
#include <cstring>
#include <random>

#include "engine/frequencies.h"
#include "engine/kernels.h"
#include "tests/engine/test_models.h"

namespace par5 {
namespace {

// Values of every magnitude and sign, borders of the definitions, subnormal numbers; `step` thins them out.
std::vector<float> sample_values(std::uint32_t step) {
  std::vector<float> values = {0.0f,   -0.0f, 1.0f,   -1.0f,  0.625f,  4.0f,  88.7f,
                               -87.0f, 88.8f, -87.1f, 1e-40f, -1e-40f, 3e38f, -3e38f};
  for (std::uint64_t bits = 0; bits < 0x7f800000u; bits += step) {
    const auto value = std::bit_cast<float>(static_cast<std::uint32_t>(bits));
    values.push_back(value);
    values.push_back(-value);
  }
  return values;
}

TEST(Elementary, ErrorsAreAsStated) {
  double exp_error = 0, tanh_error = 0, erf_error = 0, silu_error = 0, gelu_error = 0;
  for (double x = -87.0; x < 88.7; x += 0.000731) {
    const auto value = static_cast<float>(x);
    const double wide = static_cast<double>(value);
    const double truth = std::exp(wide);
    exp_error = std::max(exp_error, std::fabs(static_cast<double>(exact::exp(value)) - truth) / truth);
  }
  for (double x = -12.0; x < 12.0; x += 0.0000731) {
    const auto value = static_cast<float>(x);
    const double wide = static_cast<double>(value);
    tanh_error = std::max(tanh_error, std::fabs(static_cast<double>(exact::tanh(value)) - std::tanh(wide)));
    erf_error = std::max(erf_error, std::fabs(static_cast<double>(exact::erf(value)) - std::erf(wide)));
    silu_error =
        std::max(silu_error, std::fabs(static_cast<double>(exact::silu(value)) - wide / (1 + std::exp(-wide))));
    gelu_error = std::max(gelu_error, std::fabs(static_cast<double>(exact::gelu(value)) -
                                                0.5 * wide * (1 + std::erf(wide / std::sqrt(2.0)))));
  }
  EXPECT_LE(exp_error, 1.1 / (1 << 23));
  EXPECT_LE(tanh_error, 2e-7);
  EXPECT_LE(erf_error, 2e-7);
  EXPECT_LE(silu_error, 2e-6);
  EXPECT_LE(gelu_error, 2e-6);
  EXPECT_EQ(exact::exp(-HUGE_VALF), 0.0f);
  EXPECT_EQ(exact::exp(HUGE_VALF), HUGE_VALF);
  EXPECT_EQ(exact::exp(0.0f), 1.0f);
  EXPECT_TRUE(std::isnan(exact::exp(std::nanf(""))));
}

TEST(Elementary, WideFunctionsAgreeWithTheLibrary) {
  double error = 0;
  for (double x = -700; x < 700; x += 0.137) error = std::max(error, std::fabs(exact::exp64(x) / std::exp(x) - 1));
  EXPECT_LE(error, 1e-14);
  error = 0;
  for (double x = 1e-300; x < 1e300; x *= 1.0371) {
    const double truth = std::log(x);
    error = std::max(error, std::fabs(exact::log64(x) - truth) / std::max(1.0, std::fabs(truth)));
  }
  EXPECT_LE(error, 1e-15);
  error = 0;
  for (double x = -10; x < 4194304; x = x < 100 ? x + 0.0137 : x * 1.00171) {
    error = std::max(error, std::fabs(exact::sin64(x) - std::sin(x)));
    error = std::max(error, std::fabs(exact::cos64(x) - std::cos(x)));
  }
  EXPECT_LE(error, 1e-15);
  EXPECT_NEAR(exact::pow64(5000.0, -0.75), std::pow(5000.0, -0.75), 1e-16);
}

// Runs `work(kernels, out)` with every kernel set and compares the bits with scalar's.
template <class Work>
void compare(std::size_t count, const Work& work, const char* what) {
  std::vector<float> expected(count);
  work(scalar_kernels(), expected.data());
  for (const Kernels* kernels : available_kernels()) {
    std::vector<float> out(count, -7.0f);
    work(*kernels, out.data());
    std::size_t differing = 0;
    for (std::size_t i = 0; i < count; ++i) {
      const bool both_nan = std::isnan(out[i]) && std::isnan(expected[i]);
      differing += !both_nan && std::memcmp(&out[i], &expected[i], sizeof(float)) != 0;
    }
    EXPECT_EQ(differing, 0u) << what << " " << kernels->name;
  }
}

void compare_all(std::uint32_t step) {
  const std::vector<float> x = sample_values(step);
  const std::size_t n = x.size(), half = n / 2;
  for (const Activation activation : {Activation::relu2, Activation::leaky_relu2, Activation::gelu})
    compare(
        n, [&](const Kernels& k, float* out) { k.activate(activation, x.data(), n, out); }, "activation");
  compare(
      half, [&](const Kernels& k, float* out) { k.activate(Activation::swiglu, x.data(), half, out); }, "swiglu");
  for (const Softcap softcap : {Softcap::none, Softcap::tanh, Softcap::poly5})
    compare(
        n, [&](const Kernels& k, float* out) { k.finish_logits(x.data(), x.data(), softcap, 10.0f, n, out); },
        "softcap");
  compare(
      n,
      [&](const Kernels& k, float* out) {
        std::vector<float> small(x);
        for (float& value : small) value = std::fabs(value) < 200.0f ? value : 0.0f;
        k.exponentials(small.data(), n, out);
      },
      "exponentials");
}

TEST(Elementary, EveryKernelHasScalarBits) { compare_all(40009); }
TEST(Elementary, LongEveryKernelHasScalarBits) { compare_all(97); }

TEST(Elementary, RowKernelsOfEveryLengthHaveScalarBits) {
  std::mt19937 generator(3);
  std::normal_distribution<float> normal;
  std::vector<float> x(4 * 200);
  for (float& value : x) value = 3.0f * normal(generator);
  for (std::size_t n = 1; n <= 150; ++n) {
    compare(
        n, [&](const Kernels& k, float* out) { k.rms_norm(x.data(), n, out); }, "rms");
    compare(
        n, [&](const Kernels& k, float* out) { k.layer_norm(x.data(), n, out); }, "layer");
    compare(
        n + 1,
        [&](const Kernels& k, float* out) {
          std::copy_n(x.data(), n, out);
          out[n] = 0;
          const float normalizer = k.softmax(out, n, 0.3f);
          out[n] = normalizer;
        },
        "softmax");
    compare(
        n, [&](const Kernels& k, float* out) { k.log_softmax(x.data(), n, out); }, "log softmax");
    compare(
        2 * n,
        [&](const Kernels& k, float* out) {
          std::copy_n(x.data(), 2 * n, out);
          k.rotate(out, n, x.data() + 300, x.data() + 500);
        },
        "rotate");
    compare(
        n,
        [&](const Kernels& k, float* out) { k.mix(x.data(), x.data() + 200, x.data() + 400, x.data() + 600, n, out); },
        "mix");
    compare(
        n, [&](const Kernels& k, float* out) { k.add_scaled(x.data(), x.data() + 200, x.data() + 400, n, out); },
        "add scaled");
  }
}

TEST(Frequencies, AreExactBoundedAndAlikeForEveryKernel) {
  const StoredModel model = testing_support::models_of_every_kind().front().model;
  const auto vocab = static_cast<std::size_t>(model.model.vocab);
  std::mt19937 generator(4);
  std::normal_distribution<float> normal;
  std::vector<float> logits(3 * vocab);
  for (float& value : logits) value = 8.0f * normal(generator);
  for (const int bits : {kFewestFrequencyBits, kFrequencyBits, kMostFrequencyBits}) {
    std::vector<std::uint64_t> expected(logits.size()), totals(3);
    for (std::size_t row = 0; row < 3; ++row)
      totals[row] = token_frequencies(std::span(logits).subspan(row * vocab, vocab), bits,
                                      std::span(expected).subspan(row * vocab, vocab));
    for (std::size_t row = 0; row < 3; ++row) {
      EXPECT_GT(totals[row], std::uint64_t{1} << bits);
      double sum = 0, probability = 0;
      for (std::size_t t = 0; t < vocab; ++t) sum += std::exp(static_cast<double>(logits[row * vocab + t]));
      for (std::size_t t = 0; t < vocab; ++t) {
        const std::uint64_t frequency = expected[row * vocab + t];
        EXPECT_GE(frequency, 1u);
        const double truth = std::exp(static_cast<double>(logits[row * vocab + t])) / sum;
        EXPECT_NEAR(static_cast<double>(frequency) / static_cast<double>(totals[row]), truth, 1e-6);
        probability += std::exp2(-claimed_bits(frequency, totals[row]));
      }
      EXPECT_NEAR(probability, 1.0, 1e-9);
    }
    for (const std::string& kernel : kernel_names()) {
      Engine engine = testing_support::make_engine(model, Arithmetic::fp32, kernel, 2);
      std::vector<std::uint64_t> out(logits.size()), sums(3);
      engine.frequencies(logits, 1.0, bits, out, sums);
      EXPECT_EQ(out, expected) << kernel;
      EXPECT_EQ(sums, totals) << kernel;
      std::vector<float> shares(logits.size()), logarithms(logits.size());
      for (std::size_t row = 0; row < 3; ++row)
        log_shares(std::span(expected).subspan(row * vocab, vocab), totals[row],
                   std::span(logarithms).subspan(row * vocab, vocab));
      engine.log_shares(out, sums, shares);
      EXPECT_EQ(std::memcmp(shares.data(), logarithms.data(), shares.size() * sizeof(float)), 0) << kernel;
    }
  }
}

}  // namespace
}  // namespace par5
