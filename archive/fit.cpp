#include "archive/fit.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "archive/size_prediction.h"
#include "core/half.h"
#include "core/text.h"

namespace par5 {
namespace {

constexpr std::uint16_t kLargestHalf = 0x7bff;
constexpr std::uint8_t kLargestEight = 0x7e;  // e4m3's 448

// The nearest code with `dropped` zero bits at its end, ties to even; codes grow with the magnitude, whose largest
// finite one is `largest`.
unsigned round_code(unsigned magnitude, int dropped, unsigned largest) {
  const unsigned unit = 1u << dropped, rest = magnitude % unit, down = magnitude - rest;
  const bool up = rest > unit / 2 || (rest == unit / 2 && down / unit % 2 == 1);
  return up && down + unit <= largest ? down + unit : down;
}

void round_vectors(StoredModel& model, int mantissa_bits) {
  for (StoredTensor& tensor : model.tensors)
    if (auto* fp16 = std::get_if<Fp16Tensor>(&tensor.data))
      for (std::uint16_t& code : fp16->codes)
        code =
            static_cast<std::uint16_t>((code & 0x8000u) | round_code(code & 0x7fffu, 10 - mantissa_bits, kLargestHalf));
}

void round_fp8(StoredModel& model, int mantissa_bits) {
  for (StoredTensor& tensor : model.tensors)
    if (auto* fp8 = std::get_if<Fp8Tensor>(&tensor.data))
      for (std::uint8_t& code : fp8->codes)
        code = static_cast<std::uint8_t>((code & 0x80u) | round_code(code & 0x7fu, 3 - mantissa_bits, kLargestEight));
}

// The bits of a scale after a loss; 16: fp16.
int scale_bits_of(Loss loss) {
  switch (loss) {
    case Loss::none:
      return 16;
    case Loss::scales_8:
      return 8;
    case Loss::scales_6:
      return 6;
    case Loss::scales_5:
    case Loss::vectors_7:
      return 5;
    default:
      return 4;
  }
}

// A loss that changes nothing after the one before it: scales that have as few bits already.
bool is_idle(Loss loss, int scale_bits) {
  const bool of_scales =
      loss == Loss::scales_8 || loss == Loss::scales_6 || loss == Loss::scales_5 || loss == Loss::scales_4;
  return of_scales && scale_bits_of(loss) >= scale_bits;
}

struct Difference {
  double squares = 0, wrong = 0, largest = 0;
  void add(double before, double after) {
    squares += before * before;
    wrong += (after - before) * (after - before);
    if (before != 0) largest = std::max(largest, std::abs(after / before - 1));
  }
  WeightError error() const { return {squares > 0 ? 100 * std::sqrt(wrong / squares) : 0, 100 * largest}; }
};

void compare(const StoredModel& before, const StoredModel& after, FitTrial& trial) {
  std::array<Difference, 3> differences;
  for (std::size_t i = 0; i < before.tensors.size(); ++i) {
    Difference& difference = differences[before.tensors[i].data.index()];
    const std::vector<float> old_values = before.tensors[i].values(), new_values = after.tensors[i].values();
    for (std::size_t k = 0; k < old_values.size(); ++k)
      difference.add(static_cast<double>(old_values[k]), static_cast<double>(new_values[k]));
  }
  trial.quantised = differences[0].error();
  trial.fp8 = differences[1].error();
  trial.vectors = differences[2].error();
}

// The prediction may be off by this; a step that it puts a little above the cap is packed to be sure.
constexpr double kDoubt = 1.003;

}  // namespace

std::string_view loss_name(Loss loss) {
  constexpr std::array<std::string_view, kLosses> kNames = {"as trained",
                                                            "scales at 8 bits",
                                                            "scales at 6 bits",
                                                            "scales at 5 bits",
                                                            "vectors at 7 bits of mantissa",
                                                            "scales at 4 bits",
                                                            "vectors at 4 bits of mantissa",
                                                            "fp8 at 2 bits of mantissa",
                                                            "fp8 at 1 bit of mantissa"};
  return kNames[static_cast<std::size_t>(loss)];
}

Artifact with_loss(const Artifact& artifact, int scale_bits, Loss loss) {
  Artifact lossy = artifact;
  const int bits = std::min(scale_bits, scale_bits_of(loss));
  if (bits < 16) apply_scale_bits(lossy.model, bits);
  if (loss >= Loss::vectors_7) round_vectors(lossy.model, loss >= Loss::vectors_4 ? 4 : 7);
  if (loss >= Loss::embedding_2) round_fp8(lossy.model, loss >= Loss::embedding_1 ? 1 : 2);
  return lossy;
}

Result<FittedArtifact> fit_artifact(const Artifact& artifact, int scale_bits, std::uint64_t cap_bytes,
                                    const EncodeOptions& options, const std::function<Status(Artifact&)>& prepare) {
  FittedArtifact fitted;
  std::uint64_t least = UINT64_MAX;
  for (int step = 0; step < kLosses; ++step) {
    FitTrial trial;
    trial.loss = static_cast<Loss>(step);
    if (is_idle(trial.loss, scale_bits)) continue;
    fitted.artifact = with_loss(artifact, scale_bits, trial.loss);
    compare(artifact.model, fitted.artifact.model, trial);
    PredictOptions predict;
    predict.threads = options.threads;
    P5_TRY(const PredictedSize size, predict_size(fitted.artifact, predict));
    trial.predicted_bytes = size.file_bytes;
    if (static_cast<double>(size.file_bytes) <= kDoubt * static_cast<double>(cap_bytes)) {
      P5_OK(prepare(fitted.artifact));
      P5_TRY(fitted.encoded, encode_artifact(fitted.artifact, options));
      trial.packed_bytes = fitted.encoded.bytes.size();
    }
    least = std::min(least, trial.packed_bytes.value_or(trial.predicted_bytes));
    fitted.trials.push_back(trial);
    if (trial.packed_bytes && *trial.packed_bytes <= cap_bytes) return fitted;
  }
  return check_failed("the model does not fit " + grouped(static_cast<std::int64_t>(cap_bytes)) +
                      " bytes: with every declared loss it still takes " + grouped(static_cast<std::int64_t>(least)) +
                      ". Train a smaller one, or leave the tokenizer out with --no-tokenizer");
}

}  // namespace par5
