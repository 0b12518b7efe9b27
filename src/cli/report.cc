// cli/report.cc: `r1 report`: writes one HTML page about runs.
#include "recipe/report.h"

#include "cli/common.h"
#include "cli/output.h"

namespace r1 {

int run_report(const ReportOptions& options) {
  check_common(options.common);
  const std::vector<std::filesystem::path> runs(options.runs.begin(), options.runs.end());
  const std::string path = write_report(runs, options.output).string();
  write_stdout((options.common.json ? Json::object().set("report", path).dump() : path) + "\n");
  return 0;
}

}  // namespace r1
