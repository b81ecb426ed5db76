// The answer to a check: pass, fail or unknown, each with its evidence. What every audit and probe reports.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

namespace par5 {

enum class Verdict { pass, fail, unknown };

constexpr std::string_view verdict_name(Verdict verdict) {
  return verdict == Verdict::pass ? "pass" : verdict == Verdict::fail ? "fail" : "unknown";
}

struct AuditCheck {
  std::string id;  // "size_cap"
  Verdict verdict = Verdict::unknown;
  std::string evidence;  // file and number
};

// fail if any check fails, else unknown if any is unknown, else pass.
inline Verdict overall(const std::vector<AuditCheck>& checks) {
  const auto any = [&](Verdict verdict) {
    return std::any_of(checks.begin(), checks.end(), [&](const AuditCheck& check) { return check.verdict == verdict; });
  };
  return any(Verdict::fail) ? Verdict::fail : any(Verdict::unknown) ? Verdict::unknown : Verdict::pass;
}

}  // namespace par5
