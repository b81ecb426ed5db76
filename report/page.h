// The report of one or more runs: as an HTML page, and as text.
#pragma once

#include <string>
#include <vector>

#include "report/run_data.h"

namespace par5 {

// `program` names the version that wrote it. The same runs give the same page.
std::string report_page(const std::vector<RunData>& runs, const std::string& program);
std::string report_text(const std::vector<RunData>& runs);

}  // namespace par5
