#include "engine/arithmetic.h"

#include <string>

#include "core/text.h"

namespace par5 {

std::span<const Arithmetic> arithmetics() {
  static constexpr Arithmetic kAll[] = {Arithmetic::fp32, Arithmetic::int8, Arithmetic::fp32_adds};
  return kAll;
}

std::string_view arithmetic_name(Arithmetic arithmetic) {
  switch (arithmetic) {
    case Arithmetic::fp32:
      return "fp32";
    case Arithmetic::int8:
      return "int8";
    case Arithmetic::fp32_adds:
      break;
  }
  return "fp32-adds";
}

Result<Arithmetic> arithmetic_from_name(std::string_view name) {
  std::vector<std::string> names;
  for (const Arithmetic arithmetic : arithmetics()) {
    if (arithmetic_name(arithmetic) == name) return arithmetic;
    names.emplace_back(arithmetic_name(arithmetic));
  }
  return usage_error("there is no arithmetic '" + std::string(name) + "'; it is one of " + join(names, ", "),
                     "arithmetic");
}

}  // namespace par5
