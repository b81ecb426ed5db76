// What a record folder claims, as far as both audits, of folders and of logs, ask it.
#pragma once

#include <map>
#include <optional>
#include <string>

#include "budgets/records/record_folder.h"

namespace par5 {

// The folder is of a track without time limits (non-record, unlimited compute), by submission.json or by its path.
bool claims_no_record(const RecordFolder& folder);

struct DifferentSetting {
  std::string name, first, second;
};
// The first setting that two runs both print and that is not the same in both; those that differ from run to run by
// their nature (seeds, paths, times, machines) are left out.
std::optional<DifferentSetting> different_setting(const std::map<std::string, std::string>& a,
                                                  const std::map<std::string, std::string>& b);

}  // namespace par5
