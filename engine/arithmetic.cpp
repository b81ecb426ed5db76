#include "engine/arithmetic.h"

#include <string>

namespace par5 {

std::string_view arithmetic_name(Arithmetic arithmetic) { return arithmetic == Arithmetic::fp32 ? "fp32" : "int8"; }

Result<Arithmetic> arithmetic_from_name(std::string_view name) {
  for (const Arithmetic arithmetic : {Arithmetic::fp32, Arithmetic::int8})
    if (arithmetic_name(arithmetic) == name) return arithmetic;
  return usage_error("there is no arithmetic '" + std::string(name) + "'; it is one of fp32, int8", "arithmetic");
}

}  // namespace par5
