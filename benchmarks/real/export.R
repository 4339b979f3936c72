# Writes four data sets of the package MASS as CSV: Rscript export.R FOLDER
library(MASS)
folder <- commandArgs(trailingOnly = TRUE)[1]
write <- function(table, name) write.csv(na.omit(table), file.path(folder, paste0("raw_", name, ".csv")), row.names = FALSE)
births <- with(birthwt, data.frame(age, lwt, black = as.integer(race == 2), other = as.integer(race == 3), smoke,
  ptl = as.integer(ptl > 0), ht, ui, y = low))
write(births, "birthwt")
pima <- rbind(Pima.tr, Pima.te)
write(data.frame(pima[, 1:7], y = as.integer(pima$type)), "pima")
write(data.frame(biopsy[, 2:10], y = as.integer(biopsy$class)), "biopsy")
write(data.frame(fgl[, 1:9], y = as.integer(fgl$type)), "fgl")
