// Forward and backward of one training batch: plain LibTorch operations against par5's fused forms, interleaved.
//
// All forms have the tuned allocator. Their losses must agree; the detail says what share of the machine's bfloat16
// matrix product rate a step reaches.
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <string>
#include <vector>

#include "bench/figures.h"
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

struct Case {
  std::int64_t width, layers, vocab, embedding_width, batch, length;
};

// Measures the four forms of one network and adds a row for each. False: an error, or losses that differ.
bool measure(const Case& shape, int threads, int repetitions, bench::Figures& figures) {
  set_threads(threads);
  ModelConfig model;
  model.width = shape.width;
  model.layers = shape.layers;
  model.vocab = shape.vocab;
  model.embedding_width = shape.embedding_width;
  model.heads = model.width / 48;
  model.kv_heads = model.heads / 2;
  model.mlp_width = 4 * model.width;
  QuantizerConfig quantizer;
  quantizer.group = 96;
  LatentWeights latent(model, quantizer, {}, torch::kCPU);
  for (LatentWeight& weight : latent.weights())
    if (weight.spec.name.ends_with(".proj.weight")) weight.value.normal_(0, 0.02);
  std::vector<Form> forms;
  forms.push_back({"eager float32", Network(model, torch::kCPU, torch::kFloat32, Kernels::eager), {}});
  forms.push_back({"eager bfloat16", Network(model, torch::kCPU, torch::kBFloat16, Kernels::eager), {}});
  forms.push_back({"fused float32", Network(model, torch::kCPU, torch::kFloat32), {}});
  forms.push_back({"fused bfloat16", Network(model, torch::kCPU, torch::kBFloat16), {}});
  for (Form& form : forms) {
    if (const Status status = latent.refresh(form.network); !status) {
      std::fprintf(stderr, "%s\n", to_string(status.error()).c_str());
      return false;
    }
    form.network.require_gradients(true, true);
  }
  const torch::Tensor tokens = torch::randint(model.vocab, {shape.batch, shape.length + 1}, torch::kInt64);
  const torch::Tensor inputs = tokens.narrow(1, 0, shape.length), targets = tokens.narrow(1, 1, shape.length);
  for (int repetition = 0; repetition <= repetitions; ++repetition) {
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
  for (const Form& form : forms) {
    if (std::abs(form.loss - forms.front().loss) < 1e-3 * std::abs(forms.front().loss)) continue;
    std::fprintf(stderr, "%s gives the loss %.6f, %s %.6f\n", form.name.c_str(), form.loss, forms.front().name.c_str(),
                 forms.front().loss);
    return false;
  }

  std::int64_t products = 0;
  for (const LatentWeight& weight : latent.weights())
    if (weight.spec.shape.size() == 2 && !weight.spec.calibration) products += weight.value.numel();
  const double attention =
      2.0 * static_cast<double>(model.layers * model.width * shape.length);  // causal half of q·k and p·v
  const double count = static_cast<double>(shape.batch * shape.length);
  const double flops = count * (6.0 * static_cast<double>(products) + 3.0 * attention), rate = product_rate();
  for (const Form& form : forms) {
    const double middle = bench::median(form.seconds),
                 best = *std::min_element(form.seconds.begin(), form.seconds.end());
    figures.add({"model.info",
                 form.name + ", d " + std::to_string(shape.width) + ", " + std::to_string(shape.layers) +
                     " layers, V " + std::to_string(shape.vocab) + ", " + std::to_string(shape.batch) + " x " +
                     std::to_string(shape.length),
                 count / middle,
                 "tokens/s",
                 {},
                 {},
                 bench::Better::higher,
                 threads,
                 repetitions,
                 count / best,
                 count / middle,
                 fixed(100 * flops / best / rate, 0) + " % of " + fixed(rate * 1e-9, 0) + " GFLOP/s, " +
                     std::to_string(form.faults) + " page faults"});
  }
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string folder = argc > 1 ? argv[1] : "";
  tune_allocator();
  std::printf("%s\n", to_string(describe_runtime()).c_str());
  bench::Figures figures("model");
  for (const int threads : {1, 2}) {
    if (!measure({192, 4, 4096, 96, 8, 512}, threads, 5, figures)) return 1;
    if (!measure({384, 6, 4096, 96, 4, 512}, threads, 5, figures)) return 1;
  }
  return figures.finish(folder);
}
