# flexmix on the data sets of datasets.py: Rscript flexmix.R FOLDER likelihood|seeds|held_out NAME...
# The best log-likelihood of STARTS random starts, the same for each of SEEDS seeds, or the held-out log score in five
# folds, for k = 2 and 3.  Lines are appended to FOLDER/flexmix_likelihood.csv, and so on.
suppressPackageStartupMessages({library(flexmix); library(nnet)})
arguments <- commandArgs(trailingOnly = TRUE)
folder <- arguments[1]; what <- arguments[2]; sets <- arguments[-(1:2)]
STARTS <- 5L; SEEDS <- 20L  # as in ours.py
FOLD_STARTS <- 2L

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

append <- function(row) {
  path <- file.path(folder, paste0("flexmix_", what, ".csv"))
  write.table(row, path, append = file.exists(path), col.names = !file.exists(path), sep = ",", row.names = FALSE, quote = FALSE)
}

likelihood <- function(name, data, k, K, terms) {
  begun <- sum(proc.time()[1:2])
  full <- best_of(data, k, K, terms, STARTS)
  seconds <- sum(proc.time()[1:2]) - begun
  check <- NA  # the log-likelihood of the coefficients that are read from the fit
  X <- cbind(1, as.matrix(data[setdiff(names(data), "y")]))
  if (!is.null(full$fit)) check <- sum(log(probabilities(full$fit, X, K)[cbind(seq_len(nrow(X)), data$y)]))
  value <- if (is.null(full$fit)) NA else sprintf("%.9g", full$fit@logLik)
  append(data.frame(data = name, k = k, starts = STARTS, failed = full$failed, log_likelihood = value,
    check = sprintf("%.9g", check), seconds = sprintf("%.1f", seconds)))
}

seeds <- function(name, data, k, K, terms) {
  for (seed in seq_len(SEEDS)) {
    set.seed(seed)
    full <- best_of(data, k, K, terms, STARTS)
    value <- if (is.null(full$fit)) NA else sprintf("%.9g", full$fit@logLik)
    append(data.frame(data = name, k = k, seed = seed, starts = STARTS, failed = full$failed, log_likelihood = value))
  }
}

held_out <- function(name, data, k, K, terms, fold) {
  score <- 0; lost <- 0
  for (f in 0:4) {
    part <- best_of(data[fold != f, ], k, K, terms, FOLD_STARTS)$fit
    if (is.null(part)) { score <- NA; lost <- lost + 1; next }
    test <- fold == f
    X <- cbind(1, as.matrix(data[test, setdiff(names(data), "y"), drop = FALSE]))
    p <- probabilities(part, X, K)[cbind(seq_len(sum(test)), data$y[test])]
    score <- score + sum(log(pmax(p, 1e-15)))
  }
  append(data.frame(data = name, k = k, starts = FOLD_STARTS, held_out = sprintf("%.4f", score), folds_lost = lost))
}

for (name in sets) for (k in 2:3) {
  set.seed(12)
  data <- read.csv(file.path(folder, paste0(name, ".csv"))); fold <- data$fold; data$fold <- NULL
  K <- max(data$y); terms <- paste(setdiff(names(data), "y"), collapse = " + ")
  if (what == "held_out") held_out(name, data, k, K, terms, fold)
  else (if (what == "seeds") seeds else likelihood)(name, data, k, K, terms)
}
packages <- c("flexmix", "nnet", "MASS")
versions <- c(as.character(getRversion()), sapply(packages, function(p) as.character(packageVersion(p))))
write.csv(data.frame(software = c("R", packages), version = versions), file.path(folder, "versions.csv"),
  row.names = FALSE, quote = FALSE)
