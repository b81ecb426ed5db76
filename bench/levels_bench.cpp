// The levels check on a file of 500 MB, as a whole process: half of it bfloat16 ternary and int8 matrices, half dense.
#include <cstring>
#include <random>

#include "bench/figures.h"
#include "budgets/process_timer.h"
#include "core/half.h"
#include "core/safetensors.h"
#include "pack/quantizer.h"

using namespace par5;

namespace {

constexpr std::int64_t kRows = 2048, kColumns = 2048, kTensors = 60;  // 8 MiB each in bfloat16: 503 MB

Tensor matrix(int index) {
  const Shape shape{kRows, kColumns};
  std::mt19937 generator(static_cast<unsigned>(index % 4));
  std::normal_distribution<float> normal(0.0f, 0.02f);
  std::vector<float> weights(static_cast<std::size_t>(element_count(shape)));
  for (float& weight : weights) weight = normal(generator);
  QuantizerConfig quantizer;
  quantizer.group = 128;
  quantizer.grid = index % 4 == 0 ? Grid::ternary : Grid::int8;
  if (index % 4 < 2) (void)quantize_dequantize("w", shape, weights, quantizer, weights, 2);
  Tensor tensor{"layers." + std::to_string(index) + ".weight", DType::bfloat16, shape,
                std::vector<std::byte>(weights.size() * 2)};
  for (std::size_t i = 0; i < weights.size(); ++i) {
    const std::uint16_t bits = bfloat16_from_float(weights[i]);
    std::memcpy(tensor.data.data() + 2 * i, &bits, 2);
  }
  return tensor;
}

int fail(const Error& error) {
  std::fprintf(stderr, "bench: %s\n", to_string(error).c_str());
  return exit_status(error.code);
}

}  // namespace

int main(int argc, char** argv) {
  auto folder = TemporaryFolder::create();
  if (!folder) return fail(folder.error());
  // Four different matrices, each fifteen times.
  std::vector<Tensor> kinds;
  for (int i = 0; i < 4; ++i) kinds.push_back(matrix(i));
  std::vector<TensorView> views;
  for (int i = 0; i < kTensors; ++i) {
    views.push_back(kinds[static_cast<std::size_t>(i % 4)].view());
    views.back().name = "layers." + std::to_string(i) + ".weight";
  }
  const std::string file = join_path(folder->path(), "model.safetensors");
  if (auto written = write_safetensors(file, views, {}, Overwrite::no); !written) return fail(written.error());
  const auto bytes = file_size(file);
  std::vector<double> seconds, cpu;
  double peak = 0;
  for (int i = 0; i < 4; ++i) {
    const auto receipt =
        run_timed({{"/bin/sh", "-c", "exec '" PAR5_PROGRAM "' levels '" + file + "' --threads 2 -q >/dev/null"},
                   {},
                   false,
                   false,
                   false});
    if (!receipt) return fail(receipt.error());
    if (receipt->exit_status != 0) return fail({ErrorCode::internal, "par5 levels failed", {}, {}, {}});
    if (i == 0) continue;  // brings the file into memory
    seconds.push_back(receipt->wall_seconds);
    cpu.push_back(receipt->cpu_seconds);
    peak = std::max(peak, static_cast<double>(receipt->peak_bytes));
  }
  bench::Figures figures("levels");
  const double best = *std::min_element(seconds.begin(), seconds.end());
  const std::string detail =
      grouped(static_cast<std::int64_t>(*bytes)) + " bytes, bfloat16; fastest of " + std::to_string(seconds.size());
  figures.add({"levels.1", "levels of a 500 MB file, whole process", best, "s", 10, 5, bench::Better::lower, 2,
               static_cast<int>(seconds.size()), best, bench::median(seconds), detail});
  figures.add({"levels.cpu",
               "its processor time",
               *std::min_element(cpu.begin(), cpu.end()),
               "s",
               {},
               {},
               bench::Better::lower,
               2,
               static_cast<int>(cpu.size()),
               0,
               bench::median(cpu)});
  figures.add({"levels.memory",
               "its resident memory, pages of the file included",
               peak / 1e6,
               "MB",
               200,
               {},
               bench::Better::lower,
               2,
               static_cast<int>(seconds.size()),
               0,
               0});
  return figures.finish(argc > 1 && argv[1][0] != '-' ? argv[1] : "");
}
