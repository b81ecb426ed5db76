#include "cli/commands.h"
#include "core/config.h"
#include "core/text.h"

namespace par5 {
namespace {

struct Options {
  std::string config;
  std::vector<std::string> assignments;
  bool reference = false;
};

// docs/config.md: every key with type, default, range and meaning.
std::string reference_page() {
  std::string text =
      "# Configuration\n\nEvery key, from the one schema in core/config_schema.cpp (`par5 config show --reference` "
      "prints this page).\n"
      "Later origins win: default, TOML file (`--config`), environment (`PAR5_MODEL_WIDTH` for `model.width`), `--set "
      "key=value`.\n";
  std::string section;
  for (const ConfigKey& key : config_keys()) {
    const std::string head = key.name.substr(0, key.name.find('.'));
    if (head != section) text += "\n## [" + head + "]\n\n| key | default | type | meaning |\n|---|---|---|---|\n";
    section = head;
    std::string type = key.type;
    for (std::size_t i = 0; (i = type.find('|', i)) != std::string::npos; i += 2) type.replace(i, 1, "\\|");
    text += "| `" + key.name + "` | `" + key.fallback + "` | " + type + (key.range.empty() ? "" : ", " + key.range) +
            " | " + key.help + " |\n";
  }
  return text;
}

Result<Outcome> show(const Options& options) {
  if (options.reference) return Outcome{nullptr, reference_page(), 0};
  LoadedConfig config;
  if (!options.config.empty()) P5_OK(config.apply_file(options.config));
  P5_OK(config.apply_environment());
  for (const std::string& assignment : options.assignments) P5_OK(config.apply_assignment(assignment));
  Outcome outcome;
  for (const ConfigKey& key : config_keys())
    outcome.report["config"][key.name] = {{"value", config.value(key.name)}, {"origin", config.origin(key.name)}};
  outcome.text = config.to_toml(true);
  const Status valid = config.check();
  if (!valid) return tl::unexpected(valid.error());
  return outcome;
}

}  // namespace

Command config_command() {
  return {"config", "Show the effective configuration and where each value comes from",
          "  par5 config show --config configs/demo.toml\n  par5 config show --set model.width=384",
          [](CLI::App& app) -> Runner {
            auto options = std::make_shared<Options>();
            app.require_subcommand(1);
            CLI::App* sub = app.add_subcommand("show", "Every key with its value and origin");
            sub->add_option("--config", options->config, "TOML file");
            sub->add_option("--set", options->assignments, "section.key=value, overrides the file");
            sub->add_flag("--reference", options->reference, "Print docs/config.md");
            return [options](const CommonOptions&) { return show(*options); };
          }};
}

}  // namespace par5
