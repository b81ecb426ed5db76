// The quantiser's vector code against its scalar reference, over the weights of quinary-16mb.
#include <cstring>
#include <random>

#include "bench/figures.h"
#include "pack/architecture.h"
#include "pack/quantizer.h"

using namespace par5;

int main(int argc, char** argv) {
  const std::string folder = argc > 1 ? argv[1] : "";
  bench::Figures figures("pack");
  const ModelConfig model;
  const QuantizerConfig quantizer;
  std::int64_t weights = 0;
  std::vector<std::pair<Shape, std::vector<float>>> tensors;
  std::mt19937 generator(1);
  std::normal_distribution<float> normal(0.0f, 0.02f);
  for (const TensorSpec& spec : tensor_specs(model)) {
    if (spec.storage != Storage::quantized) continue;
    std::vector<float> values(static_cast<std::size_t>(element_count(spec.shape)));
    for (float& value : values) value = normal(generator);
    weights += element_count(spec.shape);
    tensors.emplace_back(spec.shape, std::move(values));
  }
  std::vector<float> out(tensors.back().second.size());
  for (const auto& [shape, values] : tensors) out.resize(std::max(out.size(), values.size()));
  constexpr int kRepetitions = 5;
  for (const int threads : {1, 2}) {
    std::vector<double> times;
    for (int i = 0; i <= kRepetitions; ++i) {
      const double seconds = bench::seconds_of([&] {
        for (const auto& [shape, values] : tensors) {
          const auto status =
              quantize_dequantize("weights", shape, values, quantizer, std::span(out).first(values.size()),
                                  static_cast<std::size_t>(threads));
          if (!status) std::abort();
        }
      });
      if (i > 0) times.push_back(seconds * 1e3);
    }
    figures.add({"pack.info",
                 "quantise and dequantise " + grouped(weights) + " weights (quinary, group 192)",
                 bench::median(times),
                 "ms",
                 {},
                 {},
                 bench::Better::lower,
                 threads,
                 kRepetitions,
                 *std::min_element(times.begin(), times.end()),
                 bench::median(times),
                 ""});
  }
  return figures.finish(folder);
}
