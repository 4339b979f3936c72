# flexmix's log-likelihood after 2,000 EM iterations on the benchmark's sample.
# Run `Rscript flexmix.R FOLDER` here, after `python sample.py FOLDER`; see README.md.

suppressPackageStartupMessages(library(flexmix))

arguments <- commandArgs(trailingOnly = TRUE)
folder <- arguments[1]
ITERATIONS <- if (length(arguments) > 1) as.integer(arguments[2]) else 2000L
K_FIT <- 3
sample <- read.csv(file.path(folder, "sample.csv"))
start <- read.csv(file.path(folder, "start.csv"))
sample$response <- cbind(sample$y == 1, sample$y == 2) + 0

# flexmix starts from posteriors: those of the start's parameters.
joint <- sapply(1:K_FIT, function(i) {
  of_class_1 <- plogis(start$a[i] + start$b[i] * sample$x)
  exp(start$beta0[i] + start$beta1[i] * sample$x) * ifelse(sample$y == 1, of_class_1, 1 - of_class_1)
})
posteriors <- joint / rowSums(joint)

# What flexmix prints for an iteration, in full precision and with the time since the start.
record <- NULL
begun <- NULL
write <- function(table, file) write.csv(table, file, row.names = FALSE, quote = FALSE, eol = "\n")
print_iteration <- function(iter, logLik, label = "") {
  if (iter %% 100 == 0 || iter %in% c(1, 2, 5, 10, 20, 50)) {
    now <- proc.time() - begun
    row <- data.frame(iteration = iter, log_likelihood = sprintf("%.15g", logLik),
      elapsed_s = sprintf("%.1f", now[["elapsed"]]), cpu_s = sprintf("%.1f", now[["user.self"]] + now[["sys.self"]]))
    record <<- rbind(record, row)
    write(record, file.path(folder, "log_likelihood.csv"))
  }
}
utils::assignInNamespace("printIter", print_iteration, "flexmix")

begun <- proc.time()
fitted <- flexmix(response ~ x, data = sample, k = K_FIT, cluster = posteriors,
  model = FLXMRglm(family = "binomial"), concomitant = FLXPmultinom(~x),
  control = list(iter.max = ITERATIONS, minprior = 0, tolerance = 0, classify = "weighted", verbose = 1))
stopifnot(fitted@iter == ITERATIONS, fitted@k == K_FIT)

packages <- c("flexmix", "nnet")
write(data.frame(software = c("R", packages),
  version = c(as.character(getRversion()), sapply(packages, function(p) as.character(packageVersion(p))))),
  file.path(folder, "versions.csv"))
