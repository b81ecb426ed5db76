#include "eval/learning.h"

#include "core/text.h"
#include "engine/learner.h"

namespace par5 {

Adaptation adaptation_of(ModeKind kind) {
  switch (kind) {
    case ModeKind::ttt_scalars:
      return Adaptation::calibration;
    case ModeKind::ttt_lora:
      return Adaptation::lora;
    case ModeKind::online:
      return Adaptation::output;
    default:
      return Adaptation::all;
  }
}

double rate_factor(const TensorSpec& spec, Adaptation adaptation, const TttConfig& ttt, const LoraConfig& lora) {
  switch (adaptation) {
    case Adaptation::calibration:
      return spec.calibration ? 1.0 : 0.0;
    case Adaptation::all:
      if (spec.calibration) return ttt.calibration_factor;
      return spec.shape.size() == 2 && !is_layer_matrix(spec) ? ttt.embedding_factor : ttt.matrix_factor;
    case Adaptation::lora: {
      const bool attention = spec.name.find(".attn.") != std::string::npos;
      const bool wanted = lora.matrices == LoraMatrices::all || (lora.matrices == LoraMatrices::attention) == attention;
      return is_layer_matrix(spec) && wanted ? 1.0 : 0.0;
    }
    case Adaptation::output:
      break;
  }
  return 0.0;
}

std::string learner_description(Adaptation adaptation, const TttConfig& ttt, const LoraConfig& lora, double z_loss) {
  std::string text = adaptation == Adaptation::output ? "output " : "";
  switch (ttt.optimizer) {
    case TttOptimizer::sgd:
      text += "sgd momentum " + shortest(ttt.momentum) + " clip " + shortest(ttt.clip);
      break;
    case TttOptimizer::lars:
      text += "lars momentum " + shortest(ttt.momentum);
      break;
    case TttOptimizer::adamw:
      text += "adamw betas " + shortest(ttt.momentum) + " " + shortest(ttt.adam_beta2) + " clip " + shortest(ttt.clip);
      break;
  }
  if (ttt.decay > 0) text += " decay " + shortest(ttt.decay);
  if (adaptation == Adaptation::all)
    text += " matrix_factor " + shortest(ttt.matrix_factor) + " embedding_factor " + shortest(ttt.embedding_factor) +
            " calibration_factor " + shortest(ttt.calibration_factor);
  if (adaptation == Adaptation::lora)
    text += " rank " + std::to_string(lora.rank) + " alpha " + shortest(lora.alpha) + " matrices " +
            (lora.matrices == LoraMatrices::all         ? "all"
             : lora.matrices == LoraMatrices::attention ? "attention"
                                                        : "mlp");
  // The output's bias and sharpness learn from the cross-entropy alone.
  if (adaptation != Adaptation::output) text += " z_loss " + shortest(z_loss);
  return text;
}

}  // namespace par5
