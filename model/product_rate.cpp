#include "model/product_rate.h"

#include <algorithm>
#include <chrono>
#include <ctime>
#include <set>
#include <utility>

#include "model/network.h"
#include "pack/architecture.h"

namespace par5 {
namespace {

double thread_seconds() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

// Seconds of one product of `rows` with `matrix`: on the CPU this thread's own, elsewhere by the clock until it is
// done.
double product_seconds(const torch::Tensor& rows, const torch::Tensor& matrix) {
  if (rows.is_cpu()) {
    const double start = thread_seconds();
    const torch::Tensor product = at::linear(rows, matrix);
    return thread_seconds() - start;
  }
  const auto start = std::chrono::steady_clock::now();
  (void)at::linear(rows, matrix)[0][0].item<float>();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// LibTorch on one thread while it lives.
class OneThread {
 public:
  OneThread() { at::set_num_threads(1); }
  OneThread(const OneThread&) = delete;
  OneThread& operator=(const OneThread&) = delete;
  ~OneThread() { at::set_num_threads(threads_); }
  int threads() const { return threads_; }

 private:
  int threads_ = at::get_num_threads();
};

// The best seconds in float32 and bfloat16.
std::pair<double, double> best_seconds(const torch::Tensor& rows, const torch::Tensor& matrix) {
  constexpr int kRepetitions = 4;
  // A CPU without bfloat16 instructions may emulate them very slowly: one try shows it.
  constexpr double kHopeless = 20;
  const torch::Tensor narrow_rows = rows.to(torch::kBFloat16), narrow_matrix = matrix.to(torch::kBFloat16);
  (void)product_seconds(rows, matrix);
  double wide = product_seconds(rows, matrix), narrow = product_seconds(narrow_rows, narrow_matrix);
  if (narrow > kHopeless * wide) return {wide, narrow};
  for (int i = 0; i < kRepetitions; ++i) {
    narrow = std::min(narrow, product_seconds(narrow_rows, narrow_matrix));
    wide = std::min(wide, product_seconds(rows, matrix));
  }
  return {wide, narrow};
}

}  // namespace

ProductRates measure_product_rates(const ModelConfig& model, torch::Device device) {
  const torch::NoGradGuard no_gradients;
  const OneThread alone;
  const double threads = device.is_cpu() ? alone.threads() : 1;
  std::set<std::pair<std::int64_t, Shape>> by_size;
  for (const TensorSpec& spec : tensor_specs(model))
    if (spec.storage == Storage::quantized && spec.shape.size() == 2 && spec.name != embedding_name(model))
      by_size.emplace(-spec.shape[0] * spec.shape[1], spec.shape);
  ProductRates rates;
  int measured = 0;
  for (const auto& [size, shape] : by_size) {
    if (measured++ == 2) break;
    // About half a GFLOP, but enough rows for the matrix to be reused.
    const std::int64_t rows = std::clamp<std::int64_t>(250'000'000 / -size, 256, 2048);
    const auto [wide, narrow] = best_seconds(torch::randn({rows, shape[1]}, device), torch::randn(shape, device));
    const double flops = threads * 2.0 * static_cast<double>(rows) * static_cast<double>(-size);
    rates.float32 = std::max(rates.float32, flops / wide);
    rates.bfloat16 = std::max(rates.bfloat16, flops / narrow);
  }
  return rates;
}

}  // namespace par5
