#include "core/config.h"

#include <toml++/toml.h>

#include <algorithm>
#include <cctype>
#include <sstream>

#include "core/config_schema.h"
#include "core/file.h"
#include "core/text.h"

extern char** environ;

namespace par5 {
namespace {

std::size_t find_row(std::string_view name) {
  const auto& rows = schema();
  for (std::size_t i = 0; i < rows.size(); ++i)
    if (rows[i].name == name) return i;
  return rows.size();
}

std::string environment_name(const std::string& key) {
  std::string name = "PAR5_";
  for (const char c : key) name += c == '.' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return name;
}

tl::unexpected<Error> unknown_key(const std::string& name, const std::string& where) {
  std::vector<std::string> names;
  for (const SchemaRow& row : schema()) names.push_back(row.name);
  const std::string near = nearest_name(name, names);
  return usage_error("unknown configuration key '" + name + "' in " + where +
                         (near.empty() ? "; `par5 config show` lists all keys" : "; did you mean '" + near + "'?"),
                     name);
}

// A TOML scalar as the plain text that a SchemaRow's setter takes.
Result<std::string> scalar_text(const toml::node& node, const SchemaRow& row) {
  if (const auto* text = node.as_string()) {
    if (row.kind != ValueKind::text && row.kind != ValueKind::choice)
      return usage_error(
          row.name + " takes a " + (row.kind == ValueKind::boolean ? "boolean" : "number") + ", not a string",
          row.name);
    return text->get();
  }
  if (row.kind == ValueKind::text || row.kind == ValueKind::choice)
    return usage_error(row.name + " takes a string in quotes", row.name);
  if (const auto* value = node.as_integer()) return std::to_string(value->get());
  if (const auto* value = node.as_floating_point()) return shortest(value->get());
  if (const auto* value = node.as_boolean()) return std::string(value->get() ? "true" : "false");
  return usage_error(row.name + " takes a single value", row.name);
}

}  // namespace

TttConfig model_learning() {
  TttConfig ttt;
  ttt.chunk_tokens = 512;
  ttt.epochs = 2;
  ttt.batch_windows = 1;
  ttt.optimizer = TttOptimizer::lars;
  ttt.lr = 0.002;
  ttt.schedule = TttSchedule::constant;
  ttt.momentum = 0;
  ttt.clip = 0;
  ttt.decay = 0.01;
  ttt.matrix_factor = 0;
  ttt.calibration_factor = 0;
  return ttt;
}

TttConfig lora_learning() {
  TttConfig ttt = model_learning();
  ttt.optimizer = TttOptimizer::adamw;
  ttt.lr = 0.004;
  ttt.momentum = 0.9;
  ttt.decay = 0;
  return ttt;
}

TttConfig phased_learning() {
  TttConfig ttt = model_learning();
  ttt.epochs = 1;
  ttt.batch_windows = 8;
  ttt.lr = 0.0003;
  ttt.decay = 0;
  return ttt;
}

TttConfig online_learning() {
  TttConfig ttt = model_learning();
  ttt.chunk_tokens = 64;
  ttt.epochs = 1;
  ttt.optimizer = TttOptimizer::sgd;
  ttt.lr = 0.1;
  ttt.decay = 0;
  return ttt;
}

std::string_view grid_name(Grid grid) {
  static const std::vector<std::string>& names = schema()[find_row("quantizer.grid")].choices;
  return names[static_cast<std::size_t>(grid)];
}

Result<Grid> grid_from_name(std::string_view name) {
  Config config;
  P5_OK(schema()[find_row("quantizer.grid")].set(config, std::string(name)));
  return config.quantizer.grid;
}

std::vector<ConfigKey> config_keys() {
  const Config defaults;
  std::vector<ConfigKey> keys;
  for (const SchemaRow& row : schema()) {
    ConfigKey key{row.name, {}, row.get(defaults), {}, row.help};
    switch (row.kind) {
      case ValueKind::integer:
        key.type = "integer";
        break;
      case ValueKind::number:
        key.type = "number";
        break;
      case ValueKind::boolean:
        key.type = "boolean";
        break;
      case ValueKind::text:
        key.type = "text";
        break;
      case ValueKind::choice:
        key.type = join(row.choices, " | ");
        break;
    }
    if (row.kind == ValueKind::integer || row.kind == ValueKind::number)
      key.range = shortest(row.lowest) + " … " + shortest(row.highest);
    keys.push_back(std::move(key));
  }
  return keys;
}

LoadedConfig::LoadedConfig() : origins_(schema().size(), "default") {}

Status LoadedConfig::apply_file(const std::string& path) {
  P5_TRY(const std::string text, read_text_file(path, 1 << 20));
  auto status = apply_toml(text, path);
  if (!status) status.error().in_file(path);
  return status;
}

Status LoadedConfig::apply_toml(std::string_view text, const std::string& origin) {
  toml::table root;
  try {
    root = toml::parse(text, origin);
  } catch (const toml::parse_error& error) {
    std::ostringstream place;
    place << error.source().begin;
    return bad_data("'" + origin + "' is not valid TOML: " + std::string(error.description()) + " at " + place.str(),
                    origin);
  }
  for (const auto& [section, content] : root) {
    const auto* table = content.as_table();
    if (!table) return unknown_key(std::string(section.str()), "'" + origin + "'");
    for (const auto& [key, node] : *table) {
      const std::string name = std::string(section.str()) + "." + std::string(key.str());
      const std::string place = origin + ":" + std::to_string(node.source().begin.line);
      const std::size_t index = find_row(name);
      if (index == schema().size()) return unknown_key(name, place);
      P5_TRY(const std::string value, scalar_text(node, schema()[index]));
      P5_OK(schema()[index].set(values_, value));
      origins_[index] = place;
    }
  }
  return {};
}

Status LoadedConfig::apply_environment() {
  const auto& rows = schema();
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const std::string name = environment_name(rows[i].name);
    const char* value = ::getenv(name.c_str());
    if (!value) continue;
    P5_OK(rows[i].set(values_, value));
    origins_[i] = "environment " + name;
  }
  // A misspelt variable would silently do nothing: names that look like keys must be keys.
  for (char** entry = environ; *entry; ++entry) {
    const std::string_view name = std::string_view(*entry).substr(0, std::string_view(*entry).find('='));
    std::vector<std::string> names;
    bool section_known = false;
    for (const SchemaRow& row : rows) {
      names.push_back(environment_name(row.name));
      const std::string section = environment_name(row.name.substr(0, row.name.find('.') + 1));
      section_known = section_known || name.starts_with(section);
    }
    if (!section_known || std::find(names.begin(), names.end(), name) != names.end()) continue;
    const std::string near = nearest_name(name, names);
    return usage_error("the environment variable " + std::string(name) + " names no configuration key" +
                       (near.empty() ? "" : "; did you mean " + near + "?"));
  }
  return {};
}

Status LoadedConfig::apply_assignment(std::string_view assignment, const std::string& origin) {
  const std::size_t equals = assignment.find('=');
  if (equals == std::string_view::npos)
    return usage_error("'" + std::string(assignment) + "' is not of the form section.key=value");
  const std::string name(trim(assignment.substr(0, equals)));
  std::string value(trim(assignment.substr(equals + 1)));
  if (value.size() >= 2 && value.front() == '"' && value.back() == '"') value = value.substr(1, value.size() - 2);
  const std::size_t index = find_row(name);
  if (index == schema().size()) return unknown_key(name, origin);
  P5_OK(schema()[index].set(values_, value));
  origins_[index] = origin;
  return {};
}

Status check_model(const ModelConfig& model, const QuantizerConfig& quantizer) {
  const auto text = [](std::int64_t value) { return std::to_string(value); };
  const auto impossible = [](const std::string& message, const std::string& key) { return usage_error(message, key); };
  if (model.width % model.heads != 0)
    return impossible("model.width " + text(model.width) + " is not divisible by model.heads " + text(model.heads),
                      "model.heads");
  if (model.heads % model.kv_heads != 0)
    return impossible(
        "model.heads " + text(model.heads) + " is not divisible by model.kv_heads " + text(model.kv_heads),
        "model.kv_heads");
  if (model.backbone == Backbone::unet && model.head_width() % 2 != 0)
    return impossible("RoPE needs an even head width; model.width / model.heads is " + text(model.head_width()),
                      "model.heads");
  if (model.embedding_width > model.width)
    return impossible(
        "model.embedding_width " + text(model.embedding_width) + " is larger than model.width " + text(model.width),
        "model.embedding_width");
  if (model.backbone == Backbone::gpt2) {
    if (model.kv_heads != model.heads)
      return impossible(
          "the gpt2 backbone has one key/value head per query head; set model.kv_heads = " + text(model.heads),
          "model.kv_heads");
    if (model.factored_embedding())
      return impossible(
          "the gpt2 backbone has no embedding projections; set model.embedding_width = " + text(model.width),
          "model.embedding_width");
    if (model.activation == Activation::swiglu)
      return impossible("the gpt2 backbone has no gate matrix, so swiglu is for unet only", "model.activation");
  } else if (model.embedding_storage == EmbeddingStorage::quantized && model.factored_embedding()) {
    return impossible("a factored embedding is stored as fp8 or fp16, not quantised", "model.embedding_storage");
  }
  if (model.rope_scaling == RopeScaling::yarn && model.rope_max_context < model.context)
    return impossible("model.rope_max_context is smaller than model.context", "model.rope_max_context");
  const std::int64_t bits = quantizer.scale_bits;
  if (bits != 4 && bits != 5 && bits != 6 && bits != 8 && bits != 16)
    return impossible("quantizer.scale_bits is " + text(bits) + "; it is one of 4, 5, 6, 8, 16",
                      "quantizer.scale_bits");
  if (quantizer.granularity == Granularity::group) {
    for (const auto& [name, inputs] :
         {std::pair<const char*, std::int64_t>{"model.width", model.width}, {"model.mlp_width", model.mlp_width}})
      if (inputs % quantizer.group != 0)
        return impossible("quantizer.group " + text(quantizer.group) + " does not divide " + name + " " + text(inputs),
                          "quantizer.group");
  }
  return {};
}

Status LoadedConfig::check() const {
  P5_OK(check_model(values_.model, values_.quantizer));
  const TrainConfig& train = values_.train;
  if (train.steps == 0 && train.max_seconds == 0)
    return usage_error("train.steps and train.max_seconds are both 0: the run would never end", "train.steps");
  if (train.batch_tokens % train.sequence != 0)
    return usage_error("train.batch_tokens " + std::to_string(train.batch_tokens) +
                           " is not a multiple of train.sequence " + std::to_string(train.sequence),
                       "train.batch_tokens");
  if (train.micro_batch_tokens % train.sequence != 0 || train.batch_tokens % train.micro_batch_tokens != 0)
    return usage_error("train.micro_batch_tokens " + std::to_string(train.micro_batch_tokens) +
                           " must be a multiple of train.sequence and divide train.batch_tokens",
                       "train.micro_batch_tokens");
  if (train.batch_start_tokens > 0 &&
      (train.batch_start_tokens > train.batch_tokens || train.batch_start_tokens % train.micro_batch_tokens != 0))
    return usage_error("train.batch_start_tokens " + std::to_string(train.batch_start_tokens) +
                           " must be a multiple of train.micro_batch_tokens and at most train.batch_tokens",
                       "train.batch_start_tokens");
  if (train.sequence_start > 0) {
    const std::int64_t times = train.sequence / train.sequence_start;
    if (train.sequence % train.sequence_start != 0 || (times & (times - 1)) != 0)
      return usage_error("train.sequence " + std::to_string(train.sequence) + " is not train.sequence_start " +
                             std::to_string(train.sequence_start) + " times a power of two",
                         "train.sequence_start");
  }
  if (train.head_sample > 1 && !train.teacher.empty())
    return usage_error("a teacher's distribution is over the whole vocabulary: train.head_sample must be 1",
                       "train.head_sample");
  if (train.learned_scale == LearnedScale::row && values_.quantizer.granularity == Granularity::tensor)
    return usage_error(
        "train.learned_scale = \"row\" needs a stored scale per row or group; "
        "with quantizer.granularity = \"tensor\" use \"group\"",
        "train.learned_scale");
  if (values_.model.backbone == Backbone::gpt2 && train.sequence > values_.model.context)
    return usage_error("train.sequence " + std::to_string(train.sequence) + " is beyond the " +
                           std::to_string(values_.model.context) + " learned positions",
                       "train.sequence");
  return {};
}

std::string LoadedConfig::value(std::string_view name) const {
  const std::size_t index = find_row(name);
  return index == schema().size() ? std::string{} : schema()[index].get(values_);
}
std::string LoadedConfig::origin(std::string_view name) const {
  const std::size_t index = find_row(name);
  return index == schema().size() ? std::string{} : origins_[index];
}

std::string LoadedConfig::to_toml(bool with_origins, const std::vector<std::string>& sections) const {
  std::string text;
  std::string current;
  const auto& rows = schema();
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const std::size_t dot = rows[i].name.find('.');
    const std::string section = rows[i].name.substr(0, dot);
    if (!sections.empty() && std::find(sections.begin(), sections.end(), section) == sections.end()) continue;
    if (section != current) {
      text += (text.empty() ? "[" : "\n[") + section + "]\n";
      current = section;
    }
    std::string line = rows[i].name.substr(dot + 1) + " = " + rows[i].get(values_);
    if (with_origins) line += std::string(line.size() < 44 ? 44 - line.size() : 1, ' ') + "# " + origins_[i];
    text += line + "\n";
  }
  return text;
}

}  // namespace par5
