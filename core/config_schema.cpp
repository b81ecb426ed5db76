#include "core/config_schema.h"

#include <charconv>
#include <cmath>
#include <cstdio>

#include "core/text.h"

namespace par5 {
namespace {

template <class T>
bool parse_number(const std::string& text, T& value) {
  const char* end = text.data() + text.size();
  const auto parsed = std::from_chars(text.data(), end, value);
  return parsed.ec == std::errc{} && parsed.ptr == end;
}

Status out_of_range(const SchemaRow& row, const std::string& text) {
  return usage_error(row.name + " = " + text + " is outside " + shortest(row.lowest) + " … " + shortest(row.highest),
                     row.name);
}

// Rows are made by these helpers; `field` is a function that returns a reference to the member.
template <class Field>
SchemaRow integer_row(std::string name, Field field, double lowest, double highest, std::string help) {
  SchemaRow row{std::move(name), ValueKind::integer, {}, lowest, highest, std::move(help), {}, {}};
  row.get = [field](const Config& config) { return std::to_string(field(const_cast<Config&>(config))); };
  row.set = [field, row](Config& config, const std::string& text) -> Status {
    std::int64_t value = 0;
    std::string digits = text;
    std::erase(digits, '_');
    if (!parse_number(digits, value)) return usage_error(row.name + " = " + text + " is not an integer", row.name);
    if (static_cast<double>(value) < row.lowest || static_cast<double>(value) > row.highest)
      return out_of_range(row, text);
    field(config) = value;
    return {};
  };
  return row;
}

template <class Field>
SchemaRow number_row(std::string name, Field field, double lowest, double highest, std::string help) {
  SchemaRow row{std::move(name), ValueKind::number, {}, lowest, highest, std::move(help), {}, {}};
  row.get = [field](const Config& config) { return shortest(field(const_cast<Config&>(config))); };
  row.set = [field, row](Config& config, const std::string& text) -> Status {
    double value = 0;
    if (!parse_number(text, value) || !std::isfinite(value))
      return usage_error(row.name + " = " + text + " is not a number", row.name);
    if (value < row.lowest || value > row.highest) return out_of_range(row, text);
    field(config) = value;
    return {};
  };
  return row;
}

template <class Field>
SchemaRow boolean_row(std::string name, Field field, std::string help) {
  SchemaRow row{std::move(name), ValueKind::boolean, {}, 0, 0, std::move(help), {}, {}};
  row.get = [field](const Config& config) { return field(const_cast<Config&>(config)) ? "true" : "false"; };
  row.set = [field, row](Config& config, const std::string& text) -> Status {
    if (text != "true" && text != "false")
      return usage_error(row.name + " = " + text + " is neither true nor false", row.name);
    field(config) = text == "true";
    return {};
  };
  return row;
}

template <class Field>
SchemaRow text_row(std::string name, Field field, std::string help) {
  SchemaRow row{std::move(name), ValueKind::text, {}, 0, 0, std::move(help), {}, {}};
  row.get = [field](const Config& config) { return quoted(field(const_cast<Config&>(config))); };
  row.set = [field](Config& config, const std::string& text) -> Status {
    field(config) = text;
    return {};
  };
  return row;
}

// `choices` are in the order of the enumeration.
template <class Field>
SchemaRow choice_row(std::string name, Field field, std::vector<std::string> choices, std::string help) {
  SchemaRow row{std::move(name), ValueKind::choice, std::move(choices), 0, 0, std::move(help), {}, {}};
  row.get = [field, choices = row.choices](const Config& config) {
    return quoted(choices[static_cast<std::size_t>(field(const_cast<Config&>(config)))]);
  };
  row.set = [field, row](Config& config, const std::string& text) -> Status {
    for (std::size_t i = 0; i < row.choices.size(); ++i) {
      if (row.choices[i] != text) continue;
      auto& value = field(config);
      value = static_cast<std::remove_reference_t<decltype(value)>>(i);
      return {};
    }
    const std::string near = nearest_name(text, row.choices);
    return usage_error(row.name + " = \"" + text + "\" is not one of " + join(row.choices, ", ") +
                           (near.empty() ? "" : "; did you mean \"" + near + "\"?"),
                       row.name);
  };
  return row;
}

#define P5_FIELD(section, member) \
  [](Config & config) -> auto& { return config.section.member; }

constexpr double kMany = 1e15;

// The rows that every kind of test-time training has; `kind` is a function that returns a reference to its settings.
template <class Kind>
void add_learning_rows(std::vector<SchemaRow>& rows, const std::string& section, Kind kind) {
  const auto add = [&](SchemaRow row) { rows.push_back(std::move(row)); };
  const auto key = [&section](const char* name) { return section + "." + name; };
#define P5_KIND(member) \
  [kind](Config & config) -> auto& { return kind(config).member; }
  if (section != "ttt_phased")  // its chunks end where documents do
    add(integer_row(key("chunk_tokens"), P5_KIND(chunk_tokens), 1, kMany,
                    "Targets scored before each round of learning"));
  add(integer_row(key("epochs"), P5_KIND(epochs), 0, 100, "Passes over a chunk"));
  add(integer_row(key("batch_windows"), P5_KIND(batch_windows), 1, 65536, "Windows in one step"));
  add(choice_row(key("optimizer"), P5_KIND(optimizer), {"sgd", "lars", "adamw"},
                 "sgd; lars: each tensor's gradient brought to the norm of its stored values; adamw"));
  add(number_row(key("lr"), P5_KIND(lr), 0, 10, "Learning rate"));
  add(choice_row(key("schedule"), P5_KIND(schedule), {"constant", "cosine"},
                 "Of the rate over chunks; cosine falls to 0 at the end and so needs to know it"));
  add(number_row(key("momentum"), P5_KIND(momentum), 0, 0.9999, "Carried across chunks; adamw: beta1"));
  add(number_row(key("adam_beta2"), P5_KIND(adam_beta2), 0, 0.999999, "Second moment decay of adamw"));
  add(number_row(key("clip"), P5_KIND(clip), 0, 1e9, "Bound on the gradient norm; 0: none"));
  add(number_row(key("decay"), P5_KIND(decay), 0, 1, "Share of the way back to the stored weights after each step"));
}

template <class Kind>
void add_model_learning_rows(std::vector<SchemaRow>& rows, const std::string& section, Kind kind) {
  add_learning_rows(rows, section, kind);
  rows.push_back(number_row(section + ".matrix_factor", P5_KIND(matrix_factor), 0, 1e6,
                            "Rate of the linear layers' matrices, times lr; 0: they do not learn"));
  rows.push_back(number_row(section + ".embedding_factor", P5_KIND(embedding_factor), 0, 1e6,
                            "Rate of the token embedding and its projections, times lr; 0: they do not learn"));
  rows.push_back(number_row(section + ".calibration_factor", P5_KIND(calibration_factor), 0, 1e6,
                            "Rate of the calibration tensors, times lr; 0: they do not learn"));
}
#undef P5_KIND

std::vector<SchemaRow> make_schema() {
  std::vector<SchemaRow> rows;
  const auto add = [&rows](SchemaRow row) { rows.push_back(std::move(row)); };

  add(choice_row("model.backbone", P5_FIELD(model, backbone), {"unet", "gpt2"},
                 "unet: symmetric skips, GQA, RoPE; gpt2: learned positions and ungrouped heads"));
  add(integer_row("model.layers", P5_FIELD(model, layers), 1, 1024,
                  "Blocks; unet: the first half encodes, the rest decodes"));
  add(integer_row("model.width", P5_FIELD(model, width), 2, 65536, "Width d of the residual stream"));
  add(integer_row("model.heads", P5_FIELD(model, heads), 1, 1024, "Query heads; must divide width"));
  add(integer_row("model.kv_heads", P5_FIELD(model, kv_heads), 1, 1024, "Key/value heads; must divide heads"));
  add(integer_row("model.mlp_width", P5_FIELD(model, mlp_width), 1, 1048576, "Hidden width of the MLP"));
  add(choice_row("model.activation", P5_FIELD(model, activation), {"relu2", "leaky_relu2", "swiglu", "gelu"},
                 "MLP activation: relu(x)², leaky relu (slope 0.5) squared, SwiGLU (gate first), exact GELU"));
  add(integer_row("model.vocab", P5_FIELD(model, vocab), 2, 65536, "Token ids; shards store them in 16 bits"));
  add(integer_row("model.embedding_width", P5_FIELD(model, embedding_width), 1, 65536,
                  "Width of the tied embedding; smaller than model.width: projected in and out"));
  add(choice_row("model.embedding_storage", P5_FIELD(model, embedding_storage), {"fp8", "fp16", "quantized"},
                 "Stored precision of the token embedding and its projections"));
  add(integer_row("model.context", P5_FIELD(model, context), 1, 1048576,
                  "Context that the model is made for; gpt2: number of learned positions"));
  add(boolean_row("model.fused_qkv", P5_FIELD(model, fused_qkv), "Q, K and V in one matrix"));
  add(boolean_row("model.vocab_bias", P5_FIELD(model, vocab_bias), "A learned bias per token id on the logits"));
  add(choice_row("model.norm", P5_FIELD(model, norm), {"rms", "layer"},
                 "Normalisation in the blocks; unet: without gain"));
  add(choice_row("model.linear_norm", P5_FIELD(model, linear_norm), {"none", "outputs", "all"},
                 "Gainless RMS-norm on the input of: no linear layer, both output projections, every linear layer"));
  add(number_row("model.q_gain_init", P5_FIELD(model, q_gain_init), 0, 1e4, "Initial gain of every query head"));
  add(number_row("model.rope_base", P5_FIELD(model, rope_base), 1, 1e9, "RoPE base"));
  add(choice_row("model.rope_scaling", P5_FIELD(model, rope_scaling), {"none", "yarn"}, "RoPE frequency scaling"));
  add(integer_row("model.rope_max_context", P5_FIELD(model, rope_max_context), 1, 1048576,
                  "yarn: the context that frequencies are stretched to; the scale is context / rope_max_context"));
  add(choice_row("model.rope_angles", P5_FIELD(model, rope_angles), {"float32", "bfloat16"},
                 "bfloat16 reproduces the published program, whose positions above 256 fall together"));
  add(choice_row("model.softcap", P5_FIELD(model, softcap), {"none", "tanh", "poly5"}, "Soft bound on the logits"));
  add(number_row("model.softcap_value", P5_FIELD(model, softcap_value), 1e-3, 1e6, "The bound"));
  add(number_row("model.dropout", P5_FIELD(model, dropout), 0, 0.99,
                 "gpt2: attention, residual and embedding dropout in training"));

  add(choice_row("quantizer.grid", P5_FIELD(quantizer, grid),
                 {"binary", "ternary", "quinary", "septenary", "int4", "int5", "int6", "int7", "int8"},
                 "Levels of the quantised weights; absmean scales up to septenary, absmax above"));
  add(choice_row("quantizer.granularity", P5_FIELD(quantizer, granularity), {"group", "row", "tensor"},
                 "One scale per group of inputs, per row or per tensor"));
  add(integer_row("quantizer.group", P5_FIELD(quantizer, group), 1, 65536,
                  "Weights per scale along the input dimension"));
  add(integer_row("quantizer.scale_bits", P5_FIELD(quantizer, scale_bits), 4, 16,
                  "Bits of a stored scale: 16 (fp16) or 4, 5, 6, 8 (log2 deltas)"));

  add(choice_row("data.order", P5_FIELD(data, order), {"sequential", "shuffled_windows"},
                 "Training windows in file order, or shuffled by train.seed"));
  add(integer_row("data.vocab", P5_FIELD(data, vocab), 260, 65536,
                  "Pieces of a tokenizer that is trained without --vocab"));
  add(integer_row("data.shard_tokens", P5_FIELD(data, shard_tokens), 1, 2147483647, "Tokens in one shard file"));

  add(integer_row("train.seed", P5_FIELD(train, seed), 0, kMany, "Seed of weights, data order and dropout"));
  add(integer_row("train.steps", P5_FIELD(train, steps), 0, kMany, "Optimiser steps; 0: limited by time only"));
  add(number_row("train.max_seconds", P5_FIELD(train, max_seconds), 0, 1e9,
                 "Wall-clock limit of training; 0: limited by steps only"));
  add(integer_row("train.batch_tokens", P5_FIELD(train, batch_tokens), 1, kMany, "Tokens in one optimiser step"));
  add(integer_row(
      "train.batch_start_tokens", P5_FIELD(train, batch_start_tokens), 0, kMany,
      "Tokens in the first step: the batch grows to train.batch_tokens in whole micro-batches; 0: no ramp"));
  add(number_row("train.batch_ramp_fraction", P5_FIELD(train, batch_ramp_fraction), 0, 1,
                 "Part of the run in which the batch grows"));
  add(integer_row("train.micro_batch_tokens", P5_FIELD(train, micro_batch_tokens), 1, kMany,
                  "Tokens in one forward and backward pass; gradients are summed over a step"));
  add(integer_row("train.sequence", P5_FIELD(train, sequence), 1, 1048576, "Tokens in one training window"));
  add(integer_row("train.sequence_start", P5_FIELD(train, sequence_start), 0, 1048576,
                  "Window length of the first steps: it doubles until train.sequence is reached; 0: no ramp"));
  add(number_row("train.sequence_ramp_fraction", P5_FIELD(train, sequence_ramp_fraction), 0, 1,
                 "Part of the run in which windows are shorter than train.sequence"));
  add(choice_row(
      "train.precision", P5_FIELD(train, precision), {"float32", "bfloat16", "auto", "int8"},
      "Type of matrix products; master weights are always float32. auto: measured when the run starts, bfloat16 where "
      "it is at least 1.1 times as fast. int8: linear layers and the head in 8-bit integers, in which weights of few "
      "levels are exact and activations and gradients are rounded; where the CPU lacks AVX-512 VNNI, float32"));
  add(boolean_row(
      "train.quantize", P5_FIELD(train, quantize),
      "Forward through stored precision; false: full precision, for a teacher (packing it then costs much)"));
  add(number_row("train.soft_quantization_fraction", P5_FIELD(train, soft_quantization_fraction), 0, 1,
                 "First part of the run in which weights move from full precision to the grid: (1 - p) w + p q"));
  add(number_row("train.scale_qat_fraction", P5_FIELD(train, scale_qat_fraction), 0, 1,
                 "Last part of the run that simulates scales as quantizer.scale_bits stores them"));
  add(choice_row("train.learned_scale", P5_FIELD(train, learned_scale), {"none", "row", "group"},
                 "Learned factors on the quantiser's scales: none, one per row, one per stored scale"));
  add(text_row("train.teacher", P5_FIELD(train, teacher),
               "Checkpoint to distil from, best one trained with train.quantize = false; holds all logits in memory"));
  add(number_row("train.distillation_weight", P5_FIELD(train, distillation_weight), 0, 1,
                 "Share of the teacher's distribution in the loss; the rest is the text's"));
  add(number_row("train.distillation_temperature", P5_FIELD(train, distillation_temperature), 0.05, 100,
                 "Divides both models' logits in the teacher's part of the loss"));
  add(number_row(
      "train.ema_decay", P5_FIELD(train, ema_decay), 0, 0.999999,
      "Decay per step of averaged weights, which checkpoints then hold; 0: none. Known to cost ternary runs 0.12 bpb"));
  add(integer_row("train.discarded_warmup_steps", P5_FIELD(train, discarded_warmup_steps), 0, 1000,
                  "Steps run before the clock starts, whose effect is thrown away"));
  add(integer_row("train.warmup_steps", P5_FIELD(train, warmup_steps), 0, kMany,
                  "Steps of linear learning-rate warm-up"));
  add(number_row("train.warmdown_fraction", P5_FIELD(train, warmdown_fraction), 0, 1,
                 "Last part of the run (by time or steps, whichever is further) with a falling rate"));
  add(integer_row("train.warmdown_steps", P5_FIELD(train, warmdown_steps), 0, kMany,
                  "Length of the warm-down in steps, by their mean time so far; 0: train.warmdown_fraction"));
  add(choice_row("train.warmdown_shape", P5_FIELD(train, warmdown_shape), {"linear", "cosine"},
                 "How the rate falls to train.min_lr_fraction: in a line, or as half a cosine"));
  add(number_row("train.min_lr_fraction", P5_FIELD(train, min_lr_fraction), 0, 1, "Where the warm-down ends"));
  add(number_row("train.z_loss", P5_FIELD(train, z_loss), 0, 1, "Weight of mean(logsumexp²) in the training loss"));
  add(integer_row("train.head_sample", P5_FIELD(train, head_sample), 1, 1 << 20,
                  "Of so many tokens that are no target of a batch one takes part in the loss and stands for the "
                  "others, a likely one more often: cheaper, and an estimate; 1: all take part"));
  add(number_row("train.head_sample_fraction", P5_FIELD(train, head_sample_fraction), 0, 1,
                 "The first part of the run in which train.head_sample holds"));
  add(number_row("train.init_std", P5_FIELD(train, init_std), 0, 10,
                 "Initial deviation of quantised matrices; 0: 1 / sqrt(inputs)"));
  add(choice_row("train.embedding_init", P5_FIELD(train, embedding_init), {"normal", "spectral"},
                 "What the embedding begins with: noise, or eigenvectors of the text's counts of neighbours (some "
                 "seconds before the first step; with --count-startup inside the time limit), and the vocabulary's "
                 "bias with the tokens' frequencies"));
  add(number_row("train.embedding_init_std", P5_FIELD(train, embedding_init_std), 0, 10,
                 "Initial deviation of the embedding"));
  add(number_row("train.checkpoint_seconds", P5_FIELD(train, checkpoint_seconds), 0, 1e9,
                 "Seconds between checkpoints; 0: only at the end"));
  add(integer_row("train.keep_checkpoints", P5_FIELD(train, keep_checkpoints), 1, 1000, "Checkpoints that are kept"));
  add(boolean_row("train.keep_best", P5_FIELD(train, keep_best), "Also keep the checkpoint with the best validation"));
  add(integer_row("train.log_every", P5_FIELD(train, log_every), 1, kMany, "Steps between lines of metrics.jsonl"));
  add(integer_row("train.validate_every", P5_FIELD(train, validate_every), 0, kMany,
                  "Steps between validations; 0: at the end"));
  add(integer_row("train.validate_tokens", P5_FIELD(train, validate_tokens), 0, kMany,
                  "Targets of a validation during training; 0: all"));
  add(integer_row("train.sample_every", P5_FIELD(train, sample_every), 0, kMany,
                  "Steps between samples of text in the metrics; 0: none"));
  add(integer_row("train.sample_tokens", P5_FIELD(train, sample_tokens), 1, 4096, "Tokens in a sample"));

  add(choice_row("optimizer.kind", P5_FIELD(optimizer, kind), {"muon", "adamw"},
                 "muon: Muon for matrices, Adam for the rest; adamw: AdamW for everything"));
  add(number_row("optimizer.muon_lr", P5_FIELD(optimizer, muon_lr), 0, 10, "Muon's learning rate"));
  add(number_row("optimizer.muon_momentum", P5_FIELD(optimizer, muon_momentum), 0, 0.9999,
                 "Nesterov momentum after its warm-up"));
  add(number_row("optimizer.muon_momentum_start", P5_FIELD(optimizer, muon_momentum_start), 0, 0.9999,
                 "Momentum at the first step"));
  add(integer_row("optimizer.muon_momentum_warmup_steps", P5_FIELD(optimizer, muon_momentum_warmup_steps), 0, kMany,
                  "Steps over which momentum rises"));
  add(integer_row("optimizer.muon_iterations", P5_FIELD(optimizer, muon_iterations), 1, 10,
                  "Newton–Schulz iterations"));
  add(choice_row("optimizer.muon_coefficients", P5_FIELD(optimizer, muon_coefficients), {"quintic", "polar_express"},
                 "Coefficients of the iteration"));
  add(boolean_row("optimizer.muon_row_norm", P5_FIELD(optimizer, muon_row_norm),
                  "Rows RMS-normed before the iteration"));
  add(choice_row("optimizer.muon_variant", P5_FIELD(optimizer, muon_variant), {"muon", "normuon"},
                 "normuon: rows of the update divided by their running root mean square"));
  add(number_row("optimizer.normuon_beta2", P5_FIELD(optimizer, normuon_beta2), 0, 0.9999,
                 "Decay of that mean square"));
  add(choice_row(
      "optimizer.muon_form", P5_FIELD(optimizer, muon_form), {"plain", "gram"},
      "gram: Newton–Schulz as a polynomial of the smaller Gram matrix, never in bfloat16; fewer operations, better "
      "small singular values"));
  add(choice_row(
      "optimizer.muon_products", P5_FIELD(optimizer, muon_products), {"float", "int16"},
      "int16: the iteration's products in 16-bit integers, faster than float32; where the CPU has no AVX-512 "
      "VNNI a run falls back to floats and says so"));
  add(number_row("optimizer.scalar_lr", P5_FIELD(optimizer, scalar_lr), 0, 10, "Adam's rate for calibration tensors"));
  add(number_row("optimizer.embedding_lr", P5_FIELD(optimizer, embedding_lr), 0, 10,
                 "Adam's rate for the token embedding"));
  add(number_row("optimizer.adamw_lr", P5_FIELD(optimizer, adamw_lr), 0, 10, "Rate of kind = \"adamw\""));
  add(number_row("optimizer.adam_beta1", P5_FIELD(optimizer, adam_beta1), 0, 0.99999, "Adam's first moment decay"));
  add(number_row("optimizer.adam_beta2", P5_FIELD(optimizer, adam_beta2), 0, 0.99999, "Adam's second moment decay"));
  add(number_row("optimizer.adam_epsilon", P5_FIELD(optimizer, adam_epsilon), 0, 1, "Adam's epsilon"));
  add(number_row(
      "optimizer.weight_decay", P5_FIELD(optimizer, weight_decay), 0, 1,
      "Decoupled weight decay on matrices (kind adamw: on everything); known to hurt ternary and quinary runs"));
  add(number_row("optimizer.clip", P5_FIELD(optimizer, clip), 0, 1e9,
                 "Bound on the gradient norm; 0: none. Known to stall ternary runs"));

  add(integer_row("eval.window", P5_FIELD(eval, window), 0, 1048576,
                  "Tokens of context in a window; 0: model.context"));
  add(integer_row("eval.stride", P5_FIELD(eval, stride), 1, 1048576, "Targets scored per sliding window"));
  add(integer_row("eval.batch_tokens", P5_FIELD(eval, batch_tokens), 1, kMany, "Tokens in one forward pass"));
  add(choice_row("eval.precision", P5_FIELD(eval, precision), {"float32", "bfloat16"}, "Type of matrix products"));

  add_learning_rows(rows, "ttt", [](Config& config) -> TttConfig& { return config.ttt; });
  add_model_learning_rows(rows, "ttt_model", [](Config& config) -> TttConfig& { return config.ttt_model; });
  add_learning_rows(rows, "ttt_lora", [](Config& config) -> TttConfig& { return config.ttt_lora.learning; });
  add(integer_row("ttt_lora.rank", P5_FIELD(ttt_lora, rank), 1, 4096, "Rank of the factors"));
  add(number_row("ttt_lora.alpha", P5_FIELD(ttt_lora, alpha), 0, 1e6,
                 "The factors' product is multiplied by alpha / rank"));
  add(choice_row("ttt_lora.matrices", P5_FIELD(ttt_lora, matrices), {"all", "attention", "mlp"},
                 "Linear layers that have factors"));
  add(boolean_row("ttt_lora.carry", P5_FIELD(ttt_lora, carry),
                  "Factors live on behind a document's end instead of starting anew"));
  add_model_learning_rows(rows, "ttt_phased", [](Config& config) -> TttConfig& { return config.ttt_phased.learning; });
  add(integer_row("ttt_phased.documents", P5_FIELD(ttt_phased, documents), 1, kMany,
                  "Documents scored before each phase of learning"));
  add(integer_row("ttt_phased.phases", P5_FIELD(ttt_phased, phases), 1, 1000000,
                  "Phases; behind the last one scoring goes on to the end"));
  add_learning_rows(rows, "online", [](Config& config) -> TttConfig& { return config.online; });

  add(integer_row("pack.effort", P5_FIELD(pack, effort), 0, 9, "Amount of work in choosing layouts and codecs"));
  add(text_row("budget.rules", P5_FIELD(budget, rules), "Rule set of `audit`: a name in budgets/rules or a TOML file"));
  return rows;
}

}  // namespace

const std::vector<SchemaRow>& schema() {
  static const std::vector<SchemaRow> rows = make_schema();
  return rows;
}

}  // namespace par5
