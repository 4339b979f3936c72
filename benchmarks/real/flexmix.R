# flexmix on the data sets of datasets.py: Rscript flexmix.R FOLDER [STARTS]
# The best log-likelihood of STARTS random starts, for k = 2 and 3, and the held-out log score in five folds.
suppressPackageStartupMessages({library(flexmix); library(nnet)})
arguments <- commandArgs(trailingOnly = TRUE)
folder <- arguments[1]
STARTS <- if (length(arguments) > 1) as.integer(arguments[2]) else 5L
FOLD_STARTS <- 2L
files <- paste0(c("penguins", "birthwt", "iris", "pima", "biopsy", "breast_cancer", "wine", "anes96", "fgl", "fair"), ".csv")

one_fit <- function(data, k, K, terms) {
  gate <- FLXPmultinom(as.formula(paste("~", terms)))
  control <- list(iter.max = 200, minprior = 0, tolerance = 1e-6)
  if (K == 2) {
    data$response <- cbind(data$y == 1, data$y == 2) + 0
    model <- FLXMRglm(as.formula(paste("response ~", terms)), family = "binomial")
    formula <- as.formula(paste("response ~", terms))
  } else {
    data$y <- factor(data$y, levels = 1:K)
    model <- FLXMRmultinom()
    formula <- as.formula(paste("y ~", terms))
  }
  tryCatch(suppressWarnings(flexmix(formula, data = data, k = k, model = if (K == 2) FLXMRglm(family = "binomial") else model,
    concomitant = gate, control = control)), error = function(e) NULL)
}

# Class probabilities at new points, from the coefficients.
probabilities <- function(fit, X, K) {
  k <- fit@k
  eta <- X %*% fit@concomitant@coef
  gate <- exp(eta - apply(eta, 1, max)); gate <- gate / rowSums(gate)
  total <- matrix(0, nrow(X), K)
  for (i in seq_len(k)) {
    coefficients <- fit@components[[i]][[1]]@parameters$coef
    if (K == 2) {
      p <- plogis(drop(X %*% coefficients)); p <- cbind(p, 1 - p)
    } else {
      B <- matrix(coefficients, nrow = K - 1)
      u <- cbind(0, X %*% t(B)); u <- exp(u - apply(u, 1, max)); p <- u / rowSums(u)
    }
    total <- total + gate[, i] * p
  }
  total
}

best_of <- function(data, k, K, terms, starts) {
  best <- NULL; failed <- 0
  for (s in seq_len(starts)) {
    fit <- one_fit(data, k, K, terms)
    if (is.null(fit) || !is.finite(fit@logLik) || fit@k < k) { failed <- failed + 1; next }
    if (is.null(best) || fit@logLik > best@logLik) best <- fit
  }
  list(fit = best, failed = failed)
}

rows <- NULL
for (file in files) for (k in 2:3) {
  set.seed(12)
  data <- read.csv(file.path(folder, file)); fold <- data$fold; data$fold <- NULL
  K <- max(data$y); terms <- paste(setdiff(names(data), "y"), collapse = " + ")
  begun <- proc.time()[["user.self"]]
  full <- best_of(data, k, K, terms, STARTS)
  seconds <- proc.time()[["user.self"]] - begun
  check <- NA
  X <- cbind(1, as.matrix(data[setdiff(names(data), "y")]))
  if (!is.null(full$fit)) check <- sum(log(probabilities(full$fit, X, K)[cbind(seq_len(nrow(X)), data$y)]))
  score <- 0; lost <- 0
  for (f in 0:4) {
    part <- best_of(data[fold != f, ], k, K, terms, FOLD_STARTS)$fit
    if (is.null(part)) { score <- NA; lost <- lost + 1; next }
    test <- fold == f
    p <- probabilities(part, X[test, , drop = FALSE], K)[cbind(seq_len(sum(test)), data$y[test])]
    score <- score + sum(log(pmax(p, 1e-15)))
  }
  rows <- rbind(rows, data.frame(data = sub(".csv", "", file, fixed = TRUE), k = k, starts = STARTS, failed = full$failed,
    log_likelihood = if (is.null(full$fit)) NA else sprintf("%.9g", full$fit@logLik), check = sprintf("%.9g", check),
    seconds = sprintf("%.1f", seconds), held_out = sprintf("%.4f", score), folds_lost = lost))
  write.csv(rows, file.path(folder, "flexmix.csv"), row.names = FALSE, quote = FALSE, eol = "\n")
}
packages <- c("flexmix", "nnet", "MASS")
write.csv(data.frame(software = c("R", packages), version = c(as.character(getRversion()),
  sapply(packages, function(p) as.character(packageVersion(p))))), file.path(folder, "versions.csv"), row.names = FALSE, quote = FALSE)
