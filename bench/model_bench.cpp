// Forward and backward of one training batch: plain LibTorch operations against par5's fused forms, interleaved.
//
//   par5-bench-model [width] [layers] [vocab] [embedding width] [batch] [length] [repetitions] [threads] [form]
//
// Prints tokens per second (the median and the best of the repetitions) of four forms, their losses, which must agree,
// (or of the one whose number is given, 0 to 3, for a profiler), and the share of the bfloat16 matrix product rate that
// a step of the fused form reaches.
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <string>
#include <vector>

#include "model/latent.h"
#include "model/runtime.h"

using namespace par5;

namespace {

// CPU seconds of all threads with one thread, wall-clock seconds with more: the former are right on a busy machine too.
double seconds_now() {
  if (at::get_num_threads() > 1)
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
  return static_cast<double>(std::clock()) / CLOCKS_PER_SEC;
}

long minor_faults() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_minflt;
}

// FLOPs per second of a bfloat16 product [2048, 1024] x [1024, 1024]: the best of a few.
double product_rate() {
  const torch::Tensor a = torch::randn({2048, 1024}).to(torch::kBFloat16),
                      b = torch::randn({1024, 1024}).to(torch::kBFloat16);
  double best = 1e9;
  for (int i = 0; i < 8; ++i) {
    const double begin = seconds_now();
    const torch::Tensor c = at::linear(a, b);
    best = std::min(best, seconds_now() - begin);
  }
  return 2.0 * 2048 * 1024 * 1024 / best;
}

struct Form {
  std::string name;
  Network network;
  std::vector<double> seconds;
  double loss = 0;
  long faults = 0;
};

}  // namespace

int main(int argc, char** argv) {
  const auto argument = [&](int index, std::int64_t fallback) {
    return argc > index ? std::atoll(argv[index]) : fallback;
  };
  tune_allocator();
  set_threads(static_cast<int>(argument(8, 0)));
  ModelConfig model;
  model.width = argument(1, 192);
  model.layers = argument(2, 4);
  model.vocab = argument(3, 4096);
  model.embedding_width = argument(4, 96);
  model.heads = model.width / 48;
  model.kv_heads = model.heads / 2;
  model.mlp_width = 4 * model.width;
  const std::int64_t batch = argument(5, 8), length = argument(6, 512), repetitions = argument(7, 7);
  QuantizerConfig quantizer;
  quantizer.group = 96;

  std::printf("%s\n", to_string(describe_runtime()).c_str());
  LatentWeights latent(model, quantizer, {}, torch::kCPU);
  for (LatentWeight& weight : latent.weights())
    if (weight.spec.name.ends_with(".proj.weight")) weight.value.normal_(0, 0.02);
  std::vector<Form> forms;
  forms.push_back({"eager float32", Network(model, torch::kCPU, torch::kFloat32, Kernels::eager), {}});
  forms.push_back({"eager bfloat16", Network(model, torch::kCPU, torch::kBFloat16, Kernels::eager), {}});
  forms.push_back({"fused float32", Network(model, torch::kCPU, torch::kFloat32), {}});
  forms.push_back({"fused bfloat16", Network(model, torch::kCPU, torch::kBFloat16), {}});
  if (argc > 9) forms = {forms.at(static_cast<std::size_t>(argument(9, 0)))};
  for (Form& form : forms) {
    if (const Status status = latent.refresh(form.network); !status)
      return std::puts(to_string(status.error()).c_str()), 1;
    form.network.require_gradients(true, true);
  }
  const torch::Tensor tokens = torch::randint(model.vocab, {batch, length + 1}, torch::kInt64);
  const torch::Tensor inputs = tokens.narrow(1, 0, length), targets = tokens.narrow(1, 1, length);
  for (std::int64_t repetition = 0; repetition <= repetitions; ++repetition) {
    for (Form& form : forms) {
      const long faults = minor_faults();
      const double begin = seconds_now();
      const Network::Loss loss = form.network.loss(inputs, targets, 1e-4);
      loss.total.backward();
      form.network.clear_gradients();
      if (repetition > 0) form.seconds.push_back(seconds_now() - begin);
      form.faults = minor_faults() - faults;
      form.loss = loss.total.item<double>();
    }
  }
  std::int64_t products = 0;
  for (const LatentWeight& weight : latent.weights())
    if (weight.spec.shape.size() == 2 && !weight.spec.calibration) products += weight.value.numel();
  const double attention =
      2.0 * static_cast<double>(model.layers * model.width * length);  // causal half of q·k and p·v
  const double flops = static_cast<double>(batch * length) * (6.0 * static_cast<double>(products) + 3.0 * attention);
  const double rate = product_rate();
  std::printf(
      "width %ld, %ld layers, vocabulary %ld, %ld x %ld tokens, %.1f GFLOP a step, bfloat16 products %.0f GFLOP/s\n",
      static_cast<long>(model.width), static_cast<long>(model.layers), static_cast<long>(model.vocab),
      static_cast<long>(batch), static_cast<long>(length), flops * 1e-9, rate * 1e-9);
  for (Form& form : forms) {
    std::sort(form.seconds.begin(), form.seconds.end());
    const double median = form.seconds[form.seconds.size() / 2], best = form.seconds.front();
    const double count = static_cast<double>(batch * length);
    std::printf(
        "%-15s %8.0f tokens/s median %8.0f best  %5.1f ms  loss %.5f  %ld page faults  %.0f%% of the product rate\n",
        form.name.c_str(), count / median, count / best, 1e3 * median, form.loss, form.faults,
        100 * flops / best / rate);
  }
  return 0;
}
