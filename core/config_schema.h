// Internal to core/: the schema rows behind LoadedConfig.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "core/config.h"

namespace par5 {

enum class ValueKind { integer, number, boolean, text, choice };

struct SchemaRow {
  std::string name;
  ValueKind kind = ValueKind::integer;
  std::vector<std::string> choices;
  double lowest = 0;
  double highest = 0;
  std::string help;
  // The value as TOML text, and its setter from text (a TOML scalar without quotes). The setter checks kind and range.
  std::function<std::string(const Config&)> get;
  std::function<Status(Config&, const std::string&)> set;
};

const std::vector<SchemaRow>& schema();

}  // namespace par5
